"""Turn a TOML file into a checked, frozen experiment with cells and identities (design §4)."""
