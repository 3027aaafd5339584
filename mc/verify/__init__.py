"""Check that a run folder is what its experiment says, and compute one trial again."""
