"""Verdicts on the claims of the theory, pooled over the cells of a run."""
