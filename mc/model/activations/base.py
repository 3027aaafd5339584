"""The base class of activations; numerical methods stand in for missing closed forms."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.model.activations import numerical
from mc.model.activations.tables import RATIO_ERROR, IntervalTables
from mc.model.arrays import Array, Index, as_float

_EPS = float(np.finfo(np.float64).eps)
_HUGE = 1e308
_TINY = 1e-290  # far below, Pi and phi are subnormal and have lost their relative accuracy


class Activation(ABC):
    """An activation phi in C^1 with Lipschitz phi' (theory §1).

    For an activation of your own, write a subclass with `name`, `phi` and `dphi` (`out` may be left out); any other
    attribute or method may be given too, and is then taken as it is. What is not given is computed, assuming that

    - phi' is analytic between its zeros, finite and Lipschitz, with features wider than 0.005 in h, and accurate in
      relative terms (1 - tanh(h)**2 is not, far out: primitives are then as wrong as phi' is);
    - the zeros of phi' lie in [-40, 40], more than 0.005 apart; the outermost intervals are taken as unbounded;
    - sup |phi'| and sup |phi''| are attained in [-40, 40] or approached by there;
    - phi at |h| up to 1e300 shows whether its limits are finite (logarithmic growth of a logarithm would not show).

    Every method is elementwise on float64 arrays of any shape.
    """

    name: str = ""
    cheap_inverse: bool = False
    """Whether `primitive_inverse` costs no more than some evaluations of phi."""
    ratio_error: float = RATIO_ERROR
    """Relative error of `ratio_primitive`, allowed for when `log_phi_floor` is rounded down."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for method in ("phi", "dphi"):
            if method in cls.__dict__:
                setattr(cls, method, _accept_out(cls.__dict__[method]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Omit the computed tables: a worker process computes them at first use."""
        return {k: v for k, v in self.__dict__.items() if not isinstance(getattr(type(self), k, None), cached_property)}

    @abstractmethod
    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return phi(h)."""

    @abstractmethod
    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return phi'(h)."""

    def phi_dphi(
        self, h: ArrayLike, out_phi: Array | None = None, out_dphi: Array | None = None
    ) -> tuple[Array, Array]:
        """Return phi(h) and phi'(h), written into the buffers if given; these may not overlap h or each other."""
        return self.phi(h, out=out_phi), self.dphi(h, out=out_dphi)

    @property
    def _dphi_name(self) -> str:
        return f"phi' of activation {self.name!r}"

    @cached_property
    def sup_dphi(self) -> float:
        """Return B1 = sup |phi'|, rounded up."""
        return numerical.maximum(self.dphi, self._dphi_name)

    @cached_property
    def lip_dphi(self) -> float:
        """Return B2 = Lip(phi'), rounded up."""
        return numerical.lipschitz(self.dphi, self._dphi_name)

    @property
    def bound(self) -> float:
        """Return B = max(B1, B2)."""
        return max(self.sup_dphi, self.lip_dphi)

    @cached_property
    def sup_phi(self) -> float:
        """Return sup |phi|, rounded up; inf when phi is unbounded."""
        return numerical.largest_value(self.phi)

    @cached_property
    def critical_points(self) -> Array:
        """Return the zeros of phi', ascending: the ends of the intervals that no neuron leaves (theory §3.3)."""
        return numerical.critical_points(self.dphi, self._dphi_name)

    @cached_property
    def increasing(self) -> bool:
        """Return whether phi' > 0 everywhere."""
        return self.critical_points.size == 0 and float(self.dphi(np.zeros(1))[0]) > 0.0

    @cached_property
    def moment_phi(self) -> float:
        """Return C_phi = sqrt(E phi(g)^2), g ~ N(0, 1)."""
        return numerical.moment(self.phi)

    @cached_property
    def moment_dphi(self) -> float:
        """Return C_dphi = sqrt(E phi'(g)^2), g ~ N(0, 1)."""
        return numerical.moment(self.dphi)

    @cached_property
    def _ends(self) -> Array:
        return np.concatenate([[-np.inf], self.critical_points, [np.inf]])

    @cached_property
    def _end_values(self) -> Array:
        """Return phi at the ends of the intervals."""
        finite = self.phi(self.critical_points)
        return np.concatenate([[numerical.limit(self.phi, -1)], finite, [numerical.limit(self.phi, 1)]])

    @cached_property
    def _tables(self) -> dict[int, IntervalTables]:
        return {}

    def _interval(self, h: ArrayLike) -> Index:
        return np.searchsorted(self.critical_points, as_float(h))

    def _by_interval(self, h: Array, method: Callable[..., Array], *values: Array) -> Array:
        """Call method(tables of the interval of h, values...) once per interval that holds some h."""
        interval = self._interval(h)
        out = np.empty(h.shape)
        for number in np.unique(interval):
            key = int(number)
            if key not in self._tables:
                self._tables[key] = IntervalTables(self.phi, self.dphi, *self._ends[key : key + 2])
            here = interval == number
            out[here] = method(self._tables[key], *(value[here] for value in values))
        return out

    def box(self, h: ArrayLike) -> tuple[Array, Array]:
        """Return both ends, possibly infinite, of phi(I), I the interval between zeros of phi' that holds h (§3.3)."""
        interval = self._interval(h)
        ends = self._end_values[interval], self._end_values[interval + 1]
        return np.minimum(*ends), np.maximum(*ends)

    def primitive(self, h: ArrayLike) -> Array:
        """Return Phi, a primitive of 1/phi' on the interval of each h (theory §3.3); negative slope where phi' < 0."""
        h = as_float(h)
        return self._by_interval(h, IntervalTables.primitive, h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Return the h in the interval of `h_start` with Phi(h) = c.

        Parameters
        ----------
        c : array_like
        h_start : array_like, same shape
            Names the interval; the value returned does not depend on it otherwise.
        """
        c, h_start = (as_float(v) for v in np.broadcast_arrays(c, h_start))
        return self._by_interval(h_start, IntervalTables.primitive_inverse, c)

    def phi_at_primitive(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Return phi(h) at the h in the interval of `h_start` with Phi(h) = c, to rounding in absolute terms."""
        return self.phi(self.primitive_inverse(c, h_start))

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """Return Pi, a primitive of phi/phi' on the interval of each h, 0 where phi = 0 if it vanishes there (§3.4)."""
        h = as_float(h)
        return self._by_interval(h, IntervalTables.ratio_primitive, h)

    def log_phi_floor(self, h0: ArrayLike, energy: ArrayLike) -> Array:
        """Return the logarithm of a lower bound of |phi(h(t))| for all t when both layers are trained (theory §7.5).

        `h0` and `energy` = |Z^T V_i|^2/2 >= 0 are those of the start, and broadcast. The bound, rounded down, is
        inf{|phi(h)| : Pi(h) >= Pi(h0) - energy, h on the side of h0}; -inf stands for no positive bound.
        """
        h0, energy = (as_float(v) for v in np.broadcast_arrays(h0, energy))
        potential = self.ratio_primitive(h0)
        with np.errstate(invalid="ignore"):
            level = potential - energy - (self.ratio_error * (np.abs(potential) + energy) + _TINY)
        level = np.where(np.isposinf(potential), _HUGE, level)
        with np.errstate(divide="ignore"):
            floor = self._log_floor(h0, level)
        return np.where(np.isfinite(floor), floor - 8.0 * _EPS * (1.0 + np.abs(floor)), -np.inf)

    def _log_floor(self, h0: Array, level: Array) -> Array:
        """Return log|phi| at the root of Pi = level on the side of h0; NaN or -inf where there is none."""
        h = self._by_interval(h0, IntervalTables.nearest_to_zero, h0, level)
        return self._log_abs_phi(h)

    def _log_abs_phi(self, h: Array) -> Array:
        size = np.abs(self.phi(h))
        return np.log(np.where(size > _TINY, size, 0.0))

    def check(self) -> None:
        """Refuse an activation that the theorem does not cover, or whose `dphi` is wrong.

        Raises
        ------
        InputError
            No name; a central difference of phi, of step 1e-5, off `dphi` by more than 1e-6 of its scale at some h in
            [-6, 6]; phi' unbounded, not Lipschitz, or zero on an interval.
        """
        if not self.name:
            raise InputError(f"activation {type(self).__name__} has no name: set the class attribute `name`")
        h = np.linspace(-6.0, 6.0, 241) + 1e-3
        slope = (self.phi(h + 1e-5) - self.phi(h - 1e-5)) / 2e-5
        scale = 1.0 + float(np.max(np.abs(self.phi(h)))) + float(np.max(np.abs(slope)))
        off = np.abs(slope - self.dphi(h)) > 1e-6 * scale
        if off.any():
            raise InputError(f"activation {self.name!r}: dphi is not the derivative of phi at h = {h[off][0]:.3g}")
        if not (np.isfinite(self.bound) and self.critical_points.ndim == 1):
            raise InputError(f"activation {self.name!r}: sup |phi'| and Lip(phi') must be finite")


def _accept_out(method: Callable[..., Any]) -> Callable[..., Array]:
    """Add the argument `out` to a phi or dphi that is written as a plain function of h."""
    if "out" in inspect.signature(method).parameters:
        return method

    @functools.wraps(method)
    def with_out(self: Activation, h: ArrayLike, out: Array | None = None) -> Array:
        h = as_float(h)
        value = np.broadcast_to(as_float(method(self, h)), h.shape)
        if out is None:
            return np.array(value)
        out[...] = value
        return out

    return with_out
