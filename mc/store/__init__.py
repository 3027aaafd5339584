"""Bytes on disk: the layout of a file, block files, merging, and results as they are read back."""
