"""Gradient flow: what is integrated, how it is stepped, when it stops, what is saved, and its limit."""
