"""Counts of events, and confidence limits, sequences and tests of their probability (theory §8)."""
