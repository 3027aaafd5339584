"""Compute one block of trials as a pure function: draws in, arrays out."""
