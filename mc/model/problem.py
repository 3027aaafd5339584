"""A linear inverse problem y = A xbar + eps: operator, signal, noise, thin SVD and numerical rank (theory §1)."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from mc.errors import InputError
from mc.model.arrays import Array, Index, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator


OPERATORS = ("gaussian", "orthonormal", "spectrum", "mask", "blur", "identity", "file")
SIGNALS = ("gaussian", "sparse", "piecewise", "file")


@dataclass(frozen=True)
class Problem:
    """One inverse problem, with the observation in the image of the operator."""

    A: Array
    """(m, n) operator; its truncated SVD where singular values were discarded."""
    xbar: Array
    """(n,) signal."""
    eps: Array
    """(m,) noise, projected on Im(A) (theory §1)."""
    U: Array
    """(m, r) of the thin singular value decomposition A = U diag(S) Z^T of numerical rank r."""
    S: Array
    """(r,) singular values, descending."""
    Z: Array
    """(n, r) right singular vectors."""
    discarded: Array
    """(min(m, n) - r,) singular values below the rank tolerance."""

    @cached_property
    def ybar(self) -> Array:
        """Return the clean observation A xbar, shape (m,)."""
        return np.asarray(self.A @ self.xbar)

    @cached_property
    def y(self) -> Array:
        """Return the observation, shape (m,)."""
        return np.asarray(self.ybar + self.eps)

    @cached_property
    def target(self) -> Array:
        """Return U^T y, the observation in the coordinates of Im(A), shape (r,)."""
        return np.asarray(self.U.T @ self.y)

    @property
    def rank(self) -> int:
        """Return the numerical rank r."""
        return int(self.S.size)

    @property
    def sigma_A(self) -> float:
        """Return the smallest nonzero singular value."""
        return float(self.S[-1])

    @property
    def norm_A(self) -> float:
        """Return the largest singular value |A|."""
        return float(self.S[0])

    def facts(self) -> dict[str, float]:
        """Return the scalars that reports and bounds need, by dataset name."""
        squared = self.S**2
        return {
            "sigma_A": self.sigma_A,
            "norm_A": self.norm_A,
            "frobenius_A": float(np.sqrt(squared.sum())),
            "frobenius_AAT": float(np.sqrt((squared**2).sum())),
            "norm_y": float(np.linalg.norm(self.y)),
            "norm_eps": float(np.linalg.norm(self.eps)),
            "rank": self.rank,
        }


def make_problem(A: Array, xbar: Array, noise: Array | None = None, rank_tol: float | None = None) -> Problem:
    """Decompose the operator and project the noise on its image.

    Parameters
    ----------
    A : (m, n) array
        Operator, finite and not zero.
    xbar : (n,) array
        Signal.
    noise : (m,) array, optional
        Noise before projection; none by default.
    rank_tol : float, optional
        r = number of singular values above ``rank_tol`` times the largest; max(m, n) eps by default.

    Raises
    ------
    InputError
        If shapes do not fit, a number is not finite, or A is zero.
    """
    A, xbar = np.array(A, dtype=float, ndmin=2), np.array(xbar, dtype=float, ndmin=1)
    m, n = A.shape
    if xbar.shape != (n,):
        raise InputError(f"signal of shape {xbar.shape} does not fit an operator of shape {A.shape}: give {n} numbers")
    if not (np.isfinite(A).all() and np.isfinite(xbar).all()):
        raise InputError("operator or signal holds NaN or infinity: remove them")
    tolerance = max(m, n) * np.finfo(float).eps if rank_tol is None else rank_tol
    U, S, Zt = np.linalg.svd(A, full_matrices=False)
    if S[0] == 0.0:
        raise InputError("operator is zero: there is nothing to observe")
    rank = int(np.count_nonzero(tolerance * S[0] < S))
    discarded, U, S, Z = S[rank:], U[:, :rank].copy(), S[:rank].copy(), Zt[:rank].T.copy()
    if discarded.size:
        A = (U * S) @ Z.T
    eps = np.zeros(m) if noise is None else U @ (U.T @ np.asarray(noise, dtype=float))
    return Problem(A, xbar, eps, U, S, Z, discarded)


def draw_operator(spec: Mapping[str, Any], rng: Generator) -> Array:
    """Draw or build the (m, n) operator that the resolved [problem] table names."""
    kind = spec["operator"]
    if isinstance(kind, np.ndarray):
        return np.array(kind, dtype=float, ndmin=2)
    if kind == "file":
        A = load_array(spec["path"], ndim=2, digest=spec.get("digest"))
        return A[: spec.get("m", A.shape[0])]
    n = spec["n"]
    m = spec.get("m", n)
    if kind == "gaussian":
        return np.asarray(rng.standard_normal((m, n)) / np.sqrt(n))
    if kind == "orthonormal":
        return haar(rng, n, m).T if m <= n else haar(rng, m, n)
    if kind == "spectrum":
        r = min(m, n)
        S = np.geomspace(1.0, 1.0 / spec["condition"], r)
        return np.asarray((haar(rng, m, r) * S) @ haar(rng, n, r).T)
    if kind == "mask":
        rows = np.sort(rng.permutation(n)[: spec.get("m", max(1, round(spec["keep"] * n)))])
        return np.asarray(np.eye(n)[rows])
    if kind == "blur":
        return blur_operator(n, spec["blur_width"])
    if kind == "identity":
        return np.eye(n)
    raise InputError(f"[problem] operator: unknown {kind!r}; use one of {', '.join(OPERATORS)}")


def draw_signal(spec: Mapping[str, Any], n: int, rng: Generator) -> Array:
    """Draw the signal that the [problem] table names, shape (n,)."""
    kind = spec.get("signal", "gaussian")
    if kind == "gaussian":
        return rng.standard_normal(n)
    if kind == "sparse":
        xbar = np.zeros(n)
        xbar[rng.permutation(n)[: spec["sparsity"]]] = rng.standard_normal(spec["sparsity"])
        return xbar
    if kind == "piecewise":
        pieces = spec["pieces"]
        jumps = np.sort(rng.permutation(n - 1)[: pieces - 1]) + 1
        return np.repeat(rng.standard_normal(pieces), np.diff(np.concatenate([[0], jumps, [n]])))
    if kind == "file":
        return load_array(spec["signal_path"], ndim=1, digest=spec.get("signal_digest"))
    raise InputError(f"[problem] signal: unknown {kind!r}; use one of {', '.join(SIGNALS)}")


def draw_noise(spec: Mapping[str, Any], ybar: Array, U: Array, rng: Generator) -> Array:
    """Draw noise in Im(A), of uniform direction and norm ``noise * |A xbar|`` or ``noise_norm``, shape (m,)."""
    relative, absolute = spec.get("noise", 0.0), spec.get("noise_norm")
    norm = relative * np.linalg.norm(ybar) if absolute is None else absolute
    if norm == 0.0:
        return np.zeros_like(ybar)
    direction = U @ (U.T @ rng.standard_normal(ybar.size))
    return np.asarray(direction * (norm / np.linalg.norm(direction)))


def haar(rng: Generator, rows: int, columns: int) -> Array:
    """Draw a matrix with orthonormal columns, uniform on the Stiefel manifold (rows >= columns)."""
    Q, R = np.linalg.qr(rng.standard_normal((rows, columns)))
    return np.asarray(Q * np.sign(np.diag(R)))


def blur_operator(n: int, blur_width: float) -> Array:
    """Return the periodic Gaussian blur (n, n) of standard deviation ``blur_width`` samples; its rows sum to one."""
    distance = np.arange(n)
    distance = np.minimum(distance, n - distance)
    kernel = np.exp(-0.5 * (distance / blur_width) ** 2)
    return np.asarray((kernel / kernel.sum())[(np.arange(n)[:, None] - np.arange(n)[None, :]) % n])


def load_array(path: str | Path, *, ndim: int, digest: str | None = None) -> Array:
    """Read a finite real array from a .npy or .npz file (key ``A`` or the only one).

    Raises InputError for a file that is missing, holds pickles, has not ``ndim`` axes, is not finite or has another
    digest.
    """
    path = Path(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                names = loaded.files
                if len(names) != 1 and "A" not in names:
                    raise InputError(f"{path}: holds {', '.join(names) or 'nothing'}: give one array or one named A")
                loaded = loaded["A" if "A" in names else names[0]]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: correct the path") from None
    except InputError:
        raise
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable .npy or .npz array without pickles ({error}): save it anew") from None
    if loaded.ndim != ndim or loaded.dtype.kind not in "fiub" or loaded.size == 0:
        raise InputError(
            f"{path}: holds {loaded.dtype} of shape {loaded.shape}: save a real array with {ndim} axes, not empty"
        )
    array: Array = np.asarray(loaded, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: holds NaN or infinity: remove them")
    if digest is not None and array_digest(array) != digest:
        raise InputError(f"{path}: has changed since the run began: restore it, or start a new run folder")
    return array


def array_digest(array: Array) -> str:
    """Return the SHA-256 (hex) of an array's shape and little-endian float64 bytes."""
    array = np.ascontiguousarray(array, dtype="<f8")
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


@dataclass(frozen=True)
class ProblemBatch:
    """Problems of equal shape and rank side by side; p is the number of trials, or 1 where all share one problem."""

    U: Array  # (p, m, r)
    S: Array  # (p, r)
    Zt: Array  # (p, r, n), transposed right singular vectors
    target: Array  # (p, r), U^T y

    @classmethod
    def stack(cls, problems: Sequence[Problem]) -> ProblemBatch:
        """Stack problems, or keep one where they are all the same object."""
        distinct = problems[:1] if all(p is problems[0] for p in problems) else problems
        return cls(
            np.stack([p.U for p in distinct]),
            np.stack([p.S for p in distinct]),
            np.stack([p.Z.T for p in distinct]),
            np.stack([p.target for p in distinct]),
        )

    @property
    def rank(self) -> int:
        """Return the rank r of every operator."""
        return int(self.S.shape[1])

    @property
    def n(self) -> int:
        """Return the length of a signal."""
        return int(self.Zt.shape[2])

    @property
    def sigma_A(self) -> Array:
        """Return the smallest nonzero singular values, shape (p,)."""
        return self.S[:, -1]

    @property
    def norm_A(self) -> Array:
        """Return the largest singular values, shape (p,)."""
        return self.S[:, 0]

    def take(self, index: slice | Index | Mask) -> ProblemBatch:
        """Return the problems of some trials."""
        if self.S.shape[0] == 1:
            return self
        return ProblemBatch(self.U[index], self.S[index], self.Zt[index], self.target[index])
