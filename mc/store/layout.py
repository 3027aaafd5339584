"""What a dataset is: the name, axes, type and allowed values of every dataset of block files and results.h5.

The writer, the reader and the tests use this declaration; no other file says what a name means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Mask
from mc.theory.codes import NOT_COMPUTED, CertifiedBy, Exact, ExactBy, Labelled, Outcome, Verdict

WIDTH_AXES = ("width", "flow_width")
TRIAL = ("trial",)
TRIAL_WIDTH = ("trial", "width")
MODE_TRIAL_WIDTH = ("mode", "trial", "width")
MODE_TRIAL_FLOW = ("mode", "trial", "flow_width")
SAVED = ("mode", "saved_trial", "flow_width", "time")
SAVED_SIGNAL = (*SAVED, "entry")


class Computed(Labelled):
    """State of a trial at a width; FAILED: its block raised, or its process was killed twice."""

    ABSENT = 0
    PRESENT = 1
    FAILED = 2


@dataclass(frozen=True)
class Field:
    """One dataset: its name, axes, type, and what documentation and attributes say of it."""

    name: str  # of the dataset, or the prefix of a family of datasets (`FAMILIES`)
    dims: tuple[str, ...]  # axes in order, out of mode, trial, width, flow_width, saved_trial, time, entry
    dtype: str  # float64, int64, int8 (enumerations), or str (the coordinate `mode` only)
    long_name: str
    units: str = "1"  # every quantity of the theory is dimensionless
    enum: type[Labelled] | None = None  # the labels of an int8 dataset
    rung: str | None = None  # the rung of the ladder that computes the dataset; None: always computed

    @property
    def fill(self) -> float | int:
        """The value that marks "not computed"."""
        return np.nan if self.dtype == "float64" else NOT_COMPUTED

    @property
    def row_axis(self) -> int:
        """The axis of the trials; 0 where there is none."""
        return next((axis for axis, dim in enumerate(self.dims) if dim in ("trial", "saved_trial")), 0)

    @property
    def width_axis(self) -> int | None:
        """The axis ``width`` or ``flow_width``."""
        return next((axis for axis, dim in enumerate(self.dims) if dim in WIDTH_AXES), None)

    def rows(self, start: int, stop: int) -> tuple[slice, ...]:
        """Return the index of the rows (trials) from `start` to `stop`."""
        return (*(slice(None),) * self.row_axis, slice(start, stop))

    def attributes(self) -> dict[str, object]:
        """Return the attributes of the dataset, as the CF conventions name them."""
        attributes: dict[str, object] = {"long_name": self.long_name, "units": self.units}
        if self.enum is not None:
            attributes["flag_values"] = np.array([int(member) for member in self.enum], dtype=np.int8)
            attributes["flag_meanings"] = " ".join(member.label for member in self.enum)
        if self.dtype in ("int8", "int64") and self.name not in _COORDINATE_NAMES:
            # not `_FillValue`: xarray would turn the integers of a masked variable into floats
            attributes["not_computed"] = np.array(NOT_COMPUTED, dtype=self.dtype)
        return attributes


COORDINATES: tuple[Field, ...] = (
    Field("mode", ("mode",), "str", "which layers are trained"),
    Field("trial", TRIAL, "int64", "trial: index of the random draw"),
    Field("width", ("width",), "int64", "width k of the hidden layer"),
    Field("flow_width", ("flow_width",), "int64", "width k at which the gradient flow is integrated"),
    Field("saved_trial", ("saved_trial",), "int64", "trial whose trajectory is kept"),
    Field("time", ("time",), "int64", "index of the saved time; the times themselves are in t"),
    Field("entry", ("entry",), "int64", "index of the entry of the signal"),
)
_COORDINATE_NAMES = frozenset(field.name for field in COORDINATES)


def _floats(dims: tuple[str, ...], rung: str | None = None, **names: str) -> tuple[Field, ...]:
    return tuple(Field(name, dims, "float64", long_name, rung=rung) for name, long_name in names.items())


BLOCK_LAYOUT: tuple[Field, ...] = (
    *_floats(
        TRIAL,
        sigma_A="smallest nonzero singular value of A",
        norm_A="operator norm of A",
        frobenius_A="Frobenius norm of A",
        frobenius_AAT="Frobenius norm of A A^T",
        norm_y="norm of the observation y",
        norm_eps="norm of the projected noise",
    ),
    Field("rank", TRIAL, "int64", "numerical rank r of A"),
    *_floats(
        TRIAL_WIDTH,
        psi_0="desingularizer of the initial loss, psi(L_0)",
        norm_y0="norm of the initial observation y(0)",
        activation_scale="root mean square of the initial activations, |phi(h(0))|/sqrt k",
    ),
    Field("exact", TRIAL_WIDTH, "int8", "whether the hidden-layer flow reaches zero loss", enum=Exact, rung="exact"),
    Field("exact_by", TRIAL_WIDTH, "int8", "the argument that decided exact", enum=ExactBy, rung="exact"),
    *_floats(
        TRIAL_WIDTH, "exact", limit_residual="proved lower bound of |y(t) - y| for all t: 0 where zero loss is reached"
    ),
    *_floats(TRIAL_WIDTH, "conserved", sigma_low="lower bound of sigma_min(J_Z) for all times, by conservation"),
    *_floats(
        MODE_TRIAL_WIDTH,
        sigma_0="smallest singular value of the initial Jacobian",
        radius_needed="radius R' the path needs",
    ),
    *_floats(
        MODE_TRIAL_WIDTH,
        "trial",
        radius_trial="radius R allowed by the trial's Lipschitz constant",
        margin_trial="margin of the certificate `trial`; certified iff > 1",
    ),
    *_floats(
        MODE_TRIAL_WIDTH,
        "paper",
        radius_paper="radius R allowed by the published Lipschitz constant",
        margin_paper="margin of the certificate `paper`; certified iff > 1",
    ),
    *_floats(
        MODE_TRIAL_WIDTH,
        "sharp",
        margin_sharp="margin of the certificate `sharp`; certified iff > 1",
        sigma_star="rate constant of the certificate `sharp` at time 0",
        radius_sharp="length of the path that the certificate `sharp` bounds",
    ),
    Field("outcome", MODE_TRIAL_FLOW, "int8", "how the integration of the flow ended", enum=Outcome),
    Field("certified_by", MODE_TRIAL_FLOW, "int8", "what proved the outcome", enum=CertifiedBy),
    *_floats(MODE_TRIAL_FLOW, stop_time="time of the flow at which the integration stopped"),
    Field("steps", MODE_TRIAL_FLOW, "int64", "steps tried by the integrator"),
    *_floats(
        MODE_TRIAL_FLOW,
        loss_final="loss at the stop time",
        error_estimate="estimated error of the computed parameters at the stop time",
        conserved_drift="relative drift of the conserved quantities at the stop time",
    ),
    *_floats(
        SAVED,
        t="time of the flow",
        loss="loss L(y(t))",
        distance="distance of the parameters from their initial value",
        jacobian_sigma_min="smallest singular value of the Jacobian",
        observation_error="distance of y(t) from the noiseless observation",
        signal_error="distance of x(t) from the signal",
        signal_error_range="part of the signal error in the range of A^T",
        signal_error_kernel="part of the signal error in the kernel of A",
    ),
    *_floats(SAVED_SIGNAL, signal="signal x(t) that the network generates, with save.signal of [flow]"),
)
"""What `compute_block` may return, families aside."""

RARE_LAYOUT: tuple[Field, ...] = (
    *_floats(
        TRIAL_WIDTH,
        rare_probability="probability of the failure of [rare], estimated by one repetition of splitting",
        rare_undecided="what rare_probability would gain if all undecided particles were failures",
        rare_ideal_variance="relative variance of rare_probability if the particles were independent",
        rare_acceptance="smallest share of accepted moves of a level",
        rare_autocorrelation="largest correlation of surviving a level before and after the moves, at least 0",
        rare_survival="smallest share of particles that survives a level",
        rare_tilted="the same probability, estimated by tilted importance sampling",
        rare_tilted_variance="relative variance of rare_tilted, estimated from its weights",
    ),
    Field("rare_direct", TRIAL_WIDTH, "int64", "failures among the first particles, which are independent draws"),
    Field("rare_levels", TRIAL_WIDTH, "int64", "levels of the splitting"),
)
"""What a block holds beside with [rare], in the first trials of the block: each is one repetition of splitting."""

FAMILIES: tuple[Field, ...] = (
    # the longer prefix first: `slack_time_x` is not the slack of a claim `time_x`
    Field("slack_time_", MODE_TRIAL_FLOW, "float64", "time at which the slack is smallest: "),
    Field("slack_error_", MODE_TRIAL_FLOW, "float64", "what the integration error may take from the slack: "),
    Field("slack_", MODE_TRIAL_FLOW, "float64", "smallest logarithmic slack of claim and hypothesis: "),
    Field("verdict_", MODE_TRIAL_FLOW, "int8", "verdict on claim and hypothesis: ", enum=Verdict),
    Field("error_", SAVED, "float64", "estimated integration error of "),
    Field("bound_", SAVED, "float64", "bound of the claim along the trajectory: "),
)
"""Fields per claim and hypothesis, ``<prefix><claim>_<hypothesis>``; ``bound_<claim>``."""

MERGE_LAYOUT: tuple[Field, ...] = (
    Field("computed", TRIAL_WIDTH, "int8", "whether this trial of this width is there, or failed", enum=Computed),
    Field("trials_present", ("width",), "int64", "number of trials that are there"),
    Field("flow_trials_present", ("flow_width",), "int64", "number of trials whose flow is there"),
)
"""What merging adds in results.h5."""

LAYOUT: tuple[Field, ...] = BLOCK_LAYOUT + RARE_LAYOUT + MERGE_LAYOUT
_BY_NAME = {field.name: field for field in LAYOUT}


def field_of(name: str) -> Field:
    """Return the declaration of a dataset of the layout, or of a member of one of its families.

    Raises
    ------
    KeyError
        When the layout has no such dataset.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    for family in FAMILIES:
        member = name.removeprefix(family.name)
        if member not in ("", name):
            return replace(family, name=name, long_name=family.long_name + member)
    raise KeyError(f"the record layout has no dataset {name!r}")


def filled(field: Field, sizes: Mapping[str, int]) -> NDArray[np.generic]:
    """Return an array of the field's shape that holds "not computed" everywhere."""
    return np.full(tuple(sizes[dim] for dim in field.dims), field.fill, dtype=field.dtype)


def wanted(name: str, ladder: Iterable[str]) -> bool:
    """Return whether a dataset belongs to a run with this ladder."""
    rung = field_of(name).rung
    return rung is None or rung in tuple(ladder)


def check_arrays(arrays: Mapping[str, NDArray[np.generic]], sizes: Mapping[str, int]) -> dict[str, int]:
    """Check the arrays of one block against the layout.

    `sizes` gives the lengths of the axes ``mode, trial, width, flow_width``; returned with those of ``saved_trial``,
    ``time`` and ``entry``, which are taken from the arrays and are the same in all of them (0 when nothing is saved).

    Raises
    ------
    ValueError
        Naming the dataset and what is wrong with it: unknown name, wrong type, shape or enumeration value.
    """
    lengths = dict(sizes)
    for name, array in sorted(arrays.items()):
        try:
            field = field_of(name)
        except KeyError as error:
            raise ValueError(f"{error.args[0]}") from None
        if field in MERGE_LAYOUT:
            raise ValueError(f"dataset {name!r} is written by the merge, not by a block")
        if array.dtype != np.dtype(field.dtype):
            raise ValueError(f"dataset {name!r} has type {array.dtype}, the layout says {field.dtype}")
        if array.ndim != len(field.dims):
            raise ValueError(f"dataset {name!r} has {array.ndim} axes, the layout says {field.dims}")
        expected = tuple(lengths.setdefault(dim, length) for dim, length in zip(field.dims, array.shape, strict=True))
        if array.shape != expected:
            raise ValueError(f"dataset {name!r} has shape {array.shape}, expected {expected} for {field.dims}")
        if field.enum is not None:
            stray = set(np.unique(array).tolist()) - {NOT_COMPUTED, *(int(member) for member in field.enum)}
            if stray:
                raise ValueError(f"dataset {name!r} holds {sorted(stray)}, which {field.enum.__name__} does not name")
    return {"saved_trial": 0, "time": 0, "entry": 0, **lengths}


ROUNDING = 1e-12
"""Relative difference allowed between norms of one matrix that are computed in two ways."""

FINITE = ("psi_0", "norm_y0", "activation_scale", "sigma_0")
"""Beside the facts of the problem: always computed, never infinite."""
NEVER_NAN = ("radius_needed", "margin_paper", "margin_trial", "margin_sharp")
"""Always computed; infinite where nothing bounds them."""
_ORDER = {"sigma_A": "norm_A", "norm_A": "frobenius_A"}
"""A dataset, and the one it cannot exceed."""


def range_problems(name: str, arrays: Mapping[str, NDArray[Any]], problem: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is impossible in one dataset of a block, given all arrays and the settings `n` and `m` of the problem.

    `check_arrays` checks enumerations.
    """
    array, declared = arrays[name], field_of(name)
    if name == "rank":
        yield from _where(name, (array < 1) | (array > min(problem["n"], problem["m"])), "is not in 1 to min(n, m)")
    elif declared.dtype == "int64":
        yield from _where(name, array < NOT_COMPUTED, "is negative")
    if declared.dtype != "float64":
        return
    if name in FINITE or declared.dims == TRIAL:
        yield from _where(name, ~np.isfinite(array), "is not finite")
    if name in NEVER_NAN:
        yield from _where(name, np.isnan(array), "is NaN")
    # a slack is negative where a claim fails, a signal has either sign; all else are norms, times, losses and bounds
    signed = name == "signal" or name.startswith("slack_")
    if not signed or name.startswith(("slack_time_", "slack_error_")):
        yield from _where(name, array < 0.0, "is negative")
    above = _ORDER.get(name)
    if above is not None and above in arrays:
        yield from _where(name, array > arrays[above] * (1.0 + ROUNDING), f"exceeds {above}")


def _where(name: str, wrong: Mask, problem: str) -> Iterator[str]:
    if wrong.any():
        place = ", ".join(str(index) for index in np.argwhere(wrong)[0])
        yield f"{name}[{place}] {problem} ({int(wrong.sum())} of {wrong.size} values)"
