"""Constants, certificates, probability bounds, claims and their checks (theory §4 to §7)."""
