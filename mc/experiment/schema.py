"""The other tables of an experiment file, and the file as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PlainValidator, model_validator

from mc.experiment.flow import Flow
from mc.experiment.messages import Refusal, choose, show
from mc.experiment.problem import Path, Problem
from mc.experiment.rare import Rare, check_rare
from mc.experiment.tables import (
    Table,
    check_activation,
    check_loss,
    check_output_law,
    distinct,
    increasing,
    keys,
    listed,
)
from mc.flow.settings import FlowSettings, Save, Width
from mc.model.activations import NAMES as ACTIVATIONS
from mc.model.draws import OUTPUT_LAWS
from mc.model.losses import NAMES as LOSSES
from mc.model.losses import Loss as LossObject
from mc.model.losses import get as get_loss
from mc.theory.claims import CLAIMS
from mc.theory.codes import LADDER, MODES, Mode, Rung
from mc.trial.rare.settings import RareSettings

MOST_TRIALS = 10**15
MOST_WIDTHS = 10**4
LARGEST_WIDTH = 10**9

_CLAIM_WORDS = ("saved", "all")
_CLAIM_FIX = "'saved' (trajectories: the saved ones alone), 'all' or a list of names that `dipmc claims` lists"


def _claim(value: Any) -> str:
    return choose(value, (*_CLAIM_WORDS, *CLAIMS), "a claim")


class Header(Table):
    """[experiment]."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="text of at most 100 letters, digits and ._- (it names the folder of the run)",
    )
    seed: int = Field(ge=0, lt=2**63, description="a whole number from 0 to 2^63 - 1")
    trials: int | None = Field(
        None,
        ge=1,
        le=MOST_TRIALS,
        description="a whole number from 1 to 10^15, without quotes (absent with [sampling])",
    )
    block_size: int | None = Field(
        None, ge=1, le=2**20, description="a whole number of trials (written by dipmc; drop it from a file of yours)"
    )


class Network(Table):
    """[network]."""

    mode: tuple[Mode, ...] = Field(description="'hidden', 'both' or a list of the two")
    activation: Annotated[Any, PlainValidator(check_activation)] = Field(
        "sigmoid", description="one of " + ", ".join(ACTIVATIONS)
    )
    output_law: Annotated[Any, PlainValidator(check_output_law)] = Field(
        "uniform", description="one of " + ", ".join(OUTPUT_LAWS)
    )
    d: int = Field(500, ge=1, le=LARGEST_WIDTH, description=f"a whole number from 1 to {LARGEST_WIDTH}")

    grid: ClassVar[tuple[str, ...]] = ("mode",)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        data = listed(data, cls.grid)
        if isinstance(data, Mapping) and "mode" in data:
            # One order, so that the identity does not depend on how the list was written.
            order = [mode for mode in MODES if mode in data["mode"]]
            if len(order) == len(data["mode"]):
                data = {**data, "mode": tuple(order)}
        return data

    @model_validator(mode="after")
    def _once(self) -> Self:
        distinct("mode", self.mode)
        return self


class Loss(Table):
    """[loss]."""

    kind: Annotated[Any, PlainValidator(check_loss)] = Field("mse", description="one of " + ", ".join(LOSSES))
    p: float | None = Field(None, ge=2, le=100, description="a number from 2 to 100 (kind 'power' only)")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """Replace a loss object of the registry by its name and exponent."""
        kind = data.get("kind") if isinstance(data, Mapping) else None
        if isinstance(kind, LossObject) and "p" not in data and kind.kind in LOSSES:
            exponent = kind.p if kind.kind == "power" else None
            if type(get_loss(kind.kind, exponent)) is type(kind):
                return {"kind": kind.kind} if exponent is None else {"kind": kind.kind, "p": exponent}
        return data

    @model_validator(mode="after")
    def _p_of_power(self) -> Self:
        power = isinstance(self.kind, str) and self.kind == "power"
        if power and self.p is None:
            raise Refusal("is missing; kind 'power' needs it: write p = a number from 2 to 100", "p")
        if not power and self.p is not None:
            raise Refusal(f"belongs to kind 'power', not to {show(self.kind)}; drop it or write kind = 'power'", "p")
        return self


class Widths(Table):
    """[widths]: `values`, or the numbers 10^(i/per_decade) from `from` to `to`."""

    values: tuple[Width, ...] | None = Field(
        None, max_length=MOST_WIDTHS, description=f"an increasing list of whole numbers from 1 to {LARGEST_WIDTH}"
    )
    start: Width | None = Field(None, alias="from", description=f"a whole number from 1 to {LARGEST_WIDTH}")
    to: Width | None = Field(None, description=f"a whole number from 1 to {LARGEST_WIDTH}, not below from")
    per_decade: int | None = Field(None, ge=1, le=1000, description="a whole number from 1 to 1000")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        spaced = {"from": self.start, "to": self.to, "per_decade": self.per_decade}
        given = [key for key, value in spaced.items() if value is not None]
        if self.values is not None and given:
            raise Refusal(f"excludes values; give either values or from, to, per_decade: drop {given[0]}", given[0])
        if self.values is None and not given:
            raise Refusal("is missing; write values = [10, 100, 1000], or from, to and per_decade", "values")
        if self.values is None:
            for key in spaced.keys() - set(given):
                raise Refusal(f"is missing; from, to and per_decade go together: write {key} = a whole number", key)
        elif not self.values:
            raise Refusal("[] is empty; list at least one width", "values")
        else:
            increasing("values", self.values)
        if self.start is not None and self.to is not None and self.to < self.start:
            raise Refusal(f"{self.to} is below from = {self.start}; use a whole number not below from", "to")
        return self

    def resolved(self) -> tuple[int, ...]:
        """Return the widths: increasing, each once; `from` and `to` included."""
        if self.values is not None:
            return self.values
        if self.start is None or self.to is None or self.per_decade is None:  # refused above
            return ()
        p = self.per_decade
        # Whole decades are exact powers of ten; counted from 1 so that a wider range keeps the widths it had.
        powers = (round(10 ** (i // p) * 10 ** (i % p / p)) for i in range(9 * p + 1))
        inside = {width for width in powers if self.start <= width <= self.to}
        return tuple(sorted(inside | {self.start, self.to}))


class Certificates(Table):
    """[certificates]."""

    ladder: tuple[Rung, ...] | None = Field(
        None, min_length=1, description="a list of names among " + ", ".join(LADDER)
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        distinct("ladder", self.ladder)
        return self


class Claims(Table):
    """[claims]: what is checked; a claim on trajectories that is named is checked along every one of them."""

    check: tuple[Annotated[str, PlainValidator(_claim)], ...] = Field(("saved",), min_length=1, description=_CLAIM_FIX)

    @model_validator(mode="before")
    @classmethod
    def _word(cls, data: Any) -> Any:
        word = data.get("check") if isinstance(data, Mapping) else None
        return {**data, "check": (word,)} if isinstance(word, str) and word in _CLAIM_WORDS else data

    @model_validator(mode="after")
    def _once(self) -> Self:
        distinct("check", self.check)
        for word in _CLAIM_WORDS:
            if word in self.check and len(self.check) > 1:
                raise Refusal(f"{word!r} stands alone; use {_CLAIM_FIX}", "check")
        return self


class Sampling(Table):
    """[sampling]: the number of trials follows the data."""

    target_half_width: float | None = Field(None, gt=0, lt=0.5, description="a number strictly between 0 and 0.5")
    decide: bool = Field(False, description="true or false, without quotes")
    min_trials: int = Field(100, ge=1, le=MOST_TRIALS, description="a whole number from 1 to 10^15")
    max_trials: int = Field(
        100_000, ge=1, le=MOST_TRIALS, description="a whole number from 1 to 10^15, not below min_trials"
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="a number strictly between 0 and 0.5")

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        if (self.target_half_width is not None) == self.decide:
            problem = "excludes decide = true" if self.decide else "is missing, and so is decide = true"
            raise Refusal(f"{problem}; give exactly one of target_half_width and decide = true", "target_half_width")
        if self.max_trials < self.min_trials:
            raise Refusal(f"{self.max_trials} is below min_trials = {self.min_trials}; use at least that", "max_trials")
        return self

    def sentence(self) -> str:
        """Return the rule in words."""
        goal = f"every interval has a half-width of at most {self.target_half_width:g}" if not self.decide else ""
        return (
            f"rounds of whole blocks until {goal or 'every claim P >= P_theory is supported or contradicted'}, from "
            f"{self.min_trials} to {self.max_trials} trials at each width, judged by beta-binomial confidence "
            f"sequences of error {self.alpha:g} shared by all of a cell"
        )


class Estimate(Table):
    """[estimate]."""

    level: float = Field(0.95, gt=0.5, lt=1, description="a number strictly between 0.5 and 1")
    simultaneous: bool = Field(True, description="true or false, without quotes")


class Document(Table):
    """All tables of an experiment file, and what ties them together."""

    experiment: Header
    problem: Problem
    network: Network
    widths: Widths
    loss: Loss = Field(default_factory=Loss)
    certificates: Certificates = Field(default_factory=Certificates)
    flow: Flow | None = None
    claims: Claims = Field(default_factory=Claims)
    rare: Rare | None = None
    sampling: Sampling | None = None
    estimate: Estimate = Field(default_factory=Estimate)

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        if self.experiment.trials is None and self.sampling is None:
            raise Refusal("is missing; write trials = a whole number, or add [sampling]", "trials", "experiment")
        if self.experiment.trials is not None and self.sampling is not None:
            raise Refusal("excludes [sampling], which chooses the number; drop trials", "trials", "experiment")
        self._own_widths("flow", () if self.flow is None else self.flow.widths)
        if self.rare is not None:
            self._own_widths("rare", self.rare.widths)
            if self.sampling is not None:
                raise Refusal("excludes [sampling]: repetitions go by trials; write trials = a number", "", "rare")
            network = self.network
            check_rare(self.rare, network.activation, network.output_law, network.mode, self.problem.resample)
        return self

    def _own_widths(self, table: str, asked: tuple[int, ...]) -> None:
        """Refuse widths of a table that are not among those of [widths]."""
        widths = self.widths.resolved()
        for width in asked:
            if width not in widths:
                near = min(widths, key=lambda k: abs(k - width))
                raise Refusal(f"{width} is not among [widths] (nearest {near}); use {near} or add it", "widths", table)


class SuiteTable(Table):
    """[suite]: a file that runs and reports several experiments as one."""

    experiments: tuple[Path, ...] = Field(min_length=1, description="a list of paths of experiment files, in quotes")

    @model_validator(mode="after")
    def _once(self) -> Self:
        distinct("experiments", self.experiments)
        return self


class SuiteHeader(Table):
    """[experiment] of a suite."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description=keys(Header)["name"])


class SuiteDocument(Table):
    """All tables of a suite file."""

    suite: SuiteTable
    experiment: SuiteHeader = Field(default_factory=SuiteHeader)


KEYS: dict[str, dict[str, str]] = {
    "experiment": keys(Header),
    "problem": keys(Problem),
    "network": keys(Network),
    "widths": keys(Widths),
    "loss": keys(Loss),
    "certificates": keys(Certificates),
    "flow": keys(FlowSettings),
    "flow.save": keys(Save),
    "claims": keys(Claims),
    "rare": keys(RareSettings),
    "sampling": keys(Sampling),
    "estimate": keys(Estimate),
    "suite": keys(SuiteTable),
}
"""Every table and key of the file, and the values that it takes."""
