"""Versions: of the package, of the file layout, and of the numbers."""

from __future__ import annotations

__version__ = "0.1.0"

SCHEMA_VERSION = 2
"""Raised when the layout of block files or results.h5 changes."""

READABLE = (1, 2)
"""Layouts that can still be read; a run goes on only in the layout that it began with."""

NUMERICS_VERSION = 2
"""Raised when any stored number could change; blocks of different numerics never mix."""
