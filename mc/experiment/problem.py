"""[problem]: operator, signal and noise; a list under any key makes a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from mc.experiment.arrays import LARGEST_SIDE, ArrayFacts
from mc.experiment.messages import Refusal, show
from mc.experiment.tables import AUTO, Table, check_operator, distinct, keys, listed
from mc.model.problem import OPERATORS, SIGNALS

OPERATOR_KEYS = {"spectrum": "condition", "mask": "keep", "blur": "blur_width", "file": "path"}
SIGNAL_KEYS = {"sparse": "sparsity", "piecewise": "pieces", "file": "signal_path"}
SQUARE = ("blur", "identity")

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Path = Annotated[str, Field(min_length=1)]
_SIDE = f"a whole number from 1 to {LARGEST_SIDE}, or a list of them"
_FILE = "the path of a .npy or .npz file, in quotes"


def _rank_tol(value: Any) -> float | str:
    if isinstance(value, str) and value == AUTO:
        return AUTO
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise Refusal(f"{show(value)} is not a number strictly between 0 and 1; use one, or 'auto' for max(m, n) eps")
    return float(value)


class StoredArray(Table):
    """[problem.files."<path>"]: what a frozen copy keeps of a file."""

    shape: tuple[Side, ...] = Field(min_length=1, max_length=2, description="the sides of the array")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")


class Problem(Table):
    """[problem]; every key but `files` holds a tuple of values, the axes of the grid in this order."""

    n: tuple[Side, ...] | None = Field(None, description=_SIDE)
    m: tuple[Side, ...] | None = Field(None, description=_SIDE)
    operator: tuple[Annotated[Any, PlainValidator(check_operator)], ...] = Field(
        description="one of " + ", ".join(OPERATORS)
    )
    condition: tuple[Annotated[float, Field(ge=1)], ...] | None = Field(None, description="a number >= 1")
    keep: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = Field(
        None, description="a number above 0 and at most 1"
    )
    blur_width: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(None, description="a number above 0")
    path: tuple[Path, ...] | None = Field(None, description=_FILE)
    signal: tuple[Literal["gaussian", "sparse", "piecewise", "file"], ...] = Field(
        ("gaussian",), description="one of " + ", ".join(SIGNALS)
    )
    sparsity: tuple[Side, ...] | None = Field(None, description="a whole number from 1 to n")
    pieces: tuple[Side, ...] | None = Field(None, description="a whole number from 1 to n")
    signal_path: tuple[Path, ...] | None = Field(None, description=_FILE)
    noise: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, description="a number >= 0, relative to the norm of A xbar"
    )
    noise_norm: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, description="a number >= 0, the norm of the noise"
    )
    resample: tuple[Literal["trial", "cell"], ...] = Field(("trial",), description="one of trial, cell")
    rank_tol: tuple[Annotated[float | str, PlainValidator(_rank_tol)], ...] = Field(
        (AUTO,), description="a number strictly between 0 and 1, or 'auto' for max(m, n) eps"
    )
    files: dict[str, StoredArray] | None = Field(None, description="a table that dipmc writes, or drop it")

    grid: ClassVar[tuple[str, ...]] = (
        *("n", "m", "operator", "condition", "keep", "blur_width", "path"),
        *("signal", "sparsity", "pieces", "signal_path"),
        *("noise", "noise_norm", "resample", "rank_tol"),
    )

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and not {"noise", "noise_norm"} & set(data):
            data = {**data, "noise": 0.0}
        return listed(data, cls.grid)

    @model_validator(mode="after")
    def _keys_belong(self) -> Self:
        for name in self.grid:
            distinct(name, getattr(self, name))
        if self.noise is not None and self.noise_norm is not None:
            raise Refusal("excludes noise; give one of noise and noise_norm, drop the other", "noise_norm")
        named = tuple(choice for choice in self.operator if isinstance(choice, str))
        self._own_keys("operator", OPERATOR_KEYS, named)
        self._own_keys("signal", SIGNAL_KEYS, self.signal)
        for key in ("n", "m"):
            free = ("file",) if key == "n" else ("file", "mask", *SQUARE)
            needy = [name for name in named if name not in free]
            if getattr(self, key) is None and needy:
                raise Refusal(f"is missing; operator {needy[0]!r} needs it: write {key} = {_SIDE}", key)
        return self

    def _own_keys(self, chooser: str, owners: Mapping[str, str], chosen: tuple[str, ...]) -> None:
        """Refuse a key of an operator or a signal that is not chosen, and a chosen one without its key."""
        for owner, key in owners.items():
            given = getattr(self, key) is not None
            if owner in chosen and not given:
                raise Refusal(f"is missing; {chooser} {owner!r} needs it: write {key} = {keys(type(self))[key]}", key)
            if given and owner not in chosen:
                instead = f", not to {show(chosen[0])}" if chosen else ""
                fix = f"drop it, or write {chooser} = {owner!r}"
                raise Refusal(f"belongs to {chooser} {owner!r}{instead}; {fix}", key)

    def facts(self) -> dict[str, ArrayFacts]:
        """Return the stored facts of the arrays, by absolute path."""
        return {path: ArrayFacts(stored.shape, stored.sha256) for path, stored in (self.files or {}).items()}
