"""Integrate the gradient flow, and decide its limit exactly (theory §3, §7.4)."""
