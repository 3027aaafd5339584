"""Probabilities of rare failures from splitting and tilting."""
