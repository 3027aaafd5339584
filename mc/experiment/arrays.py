"""Check the matrices, signals and Python objects of an experiment, and take their digests."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.experiment.messages import Refusal
from mc.model.arrays import Array
from mc.model.problem import array_digest, load_array

LARGEST_SIDE = 10_000
"""Largest n and m: an n x n Gram matrix then takes 0.8 GB."""

OBJECT = "object:"
"""Prefix of the text that replaces a Python object."""


@dataclass(frozen=True)
class ArrayFacts:
    """The shape of an array, its digest and, if loaded, the array; equal when the contents are equal."""

    shape: tuple[int, ...] = field(compare=False)
    sha256: str
    array: Array | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{OBJECT}array-{'x'.join(map(str, self.shape))}:{self.sha256}"

    @classmethod
    def from_token(cls, token: str) -> ArrayFacts | None:
        """Return the facts that `str` wrote, None for any other text."""
        match = re.fullmatch(OBJECT + r"array-([0-9x]+):([0-9a-f]{64})", token)
        return cls(tuple(map(int, match[1].split("x"))), match[2]) if match else None


def array_facts(array: NDArray[Any], ndim: int) -> ArrayFacts:
    """Check an operator (`ndim` 2, m x n) or a signal (`ndim` 1, n) and take its digest.

    Raises Refusal for an array that is not real and finite, of other dimensions, too large, empty, or all zero.
    """
    wanted = f"use a real array with {ndim} axes and sides from 1 to {LARGEST_SIDE}"
    if array.ndim != ndim or array.dtype.kind not in "fiub":
        raise Refusal(f"holds {array.dtype} of shape {array.shape}; {wanted}")
    if 0 in array.shape or max(array.shape) > LARGEST_SIDE:
        raise Refusal(f"has shape {array.shape}; {wanted}")
    values = np.array(array, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        entry = tuple(int(i) for i in bad[0])
        raise Refusal(f"has the entry {values[entry]} at index {entry}; use finite numbers only")
    if ndim == 2 and not values.any():
        raise Refusal("is zero everywhere; use an operator that observes something")
    values.setflags(write=False)
    return ArrayFacts(values.shape, array_digest(values), values)


def file_facts(path: str, ndim: int) -> ArrayFacts:
    """Return the facts of the array in a .npy or .npz file; Refusal with the path, the problem and the fix."""
    try:
        if os.path.isfile(path) and os.stat(path).st_size > 8 * LARGEST_SIDE**ndim + 2**16:
            raise Refusal(f"is larger than any allowed; use sides from 1 to {LARGEST_SIDE}")
        return array_facts(load_array(path, ndim=ndim), ndim)
    except InputError as error:
        raise Refusal(str(error)) from error
    except Refusal as error:
        raise Refusal(f"{path} {error.text}") from error
    except (zipfile.BadZipFile, zlib.error, AttributeError, TypeError, SyntaxError, MemoryError) as error:
        raise Refusal(f"{path} cannot be read as .npy or .npz; save it anew with numpy.save") from error


def object_token(thing: Any, what: str) -> str:
    """Return ``object:<name>:<digest>``, which replaces a Python object in files and identities.

    The object is an activation, a loss or an output law, as `what` says. The digest is the SHA-256 of its values on a
    fixed grid, rounded to 1e-10 so that the last bits of a machine's arithmetic do not matter, and of its constants.
    """
    key, table = ("kind", "loss") if what == "loss" else (what, "network")
    parts = [f"{what}:{thing.name}:{type(thing).__qualname__}"]
    grid = np.linspace(-8.0, 8.0, 257)
    residual = np.stack([grid, 0.5 * grid - 1.0, np.cos(grid)], axis=-1)
    functions: dict[str, dict[str, Array]] = {
        "activation": {"phi": grid, "dphi": grid},
        "loss": {"value": residual, "gradient": residual, "psi": grid**2},
    }
    for name, points in functions.get(what, {}).items():
        values = np.asarray(getattr(thing, name)(points.copy()), dtype=np.float64)
        if not np.isfinite(values).all():
            raise Refusal(
                f"{name} of {thing.name!r} is not finite everywhere on its test grid; use a function that is",
                key,
                table,
            )
        parts.append(array_digest(np.round(values, 10) + 0.0))  # + 0.0 turns -0.0 into 0.0
    for name in ("p", "entry_bound", "subgaussian", "sup_dphi", "lip_dphi"):
        constant = getattr(thing, name, None)
        if isinstance(constant, (int, float)):
            parts.append(f"{name}={float(constant):.10g}")
    digest = array_digest(np.frombuffer("\n".join(parts).encode(), dtype=np.uint8).astype(np.float64))
    return f"{OBJECT}{thing.name}:{digest}"
