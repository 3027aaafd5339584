"""Findings about one cell of a run: curves, verdicts, and comparisons between cells."""
