"""The commands of `dipmc`."""
