"""[flow] and [flow.save]: what is integrated, how, and what is kept of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from mc.experiment.messages import Refusal, show
from mc.experiment.tables import AUTO, Table, increasing

METHODS = ("auto", "explicit", "dual", "lowrank")
LARGEST_WIDTH = 10**9
MOST_SAVED = 5 * 10**7

Width = Annotated[int, Field(ge=1, le=LARGEST_WIDTH)]


def _times(value: Any) -> int | tuple[float, ...]:
    fix = "use a whole number from 2 to 10000 (log-spaced times) or an increasing list of positive times"
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 10**4:
        return value
    if not isinstance(value, tuple) or not 1 <= len(value) <= 10**4:
        raise Refusal(f"{show(value)} is not valid; {fix}")
    if any(isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 < t < math.inf for t in value):
        raise Refusal(f"{show(value)} holds an entry that is not a positive number; {fix}")
    times = tuple(float(t) for t in value)
    if any(a >= b for a, b in pairwise(times)):
        raise Refusal(f"{show(value)} is not increasing; {fix}")
    return times


class Save(Table):
    """[flow.save]: the first `trials` trials keep their trajectories at `times`."""

    trials: int = Field(0, ge=0, le=10**5, description="a whole number from 0 to 100000")
    times: Annotated[int | tuple[float, ...], PlainValidator(_times)] = Field(
        64, description="a whole number from 2 to 10000 (log-spaced times) or an increasing list of positive times"
    )
    signal: bool = Field(False, description="true or false, without quotes")

    @property
    def count(self) -> int:
        """Number of times of a trajectory."""
        return self.times if isinstance(self.times, int) else len(self.times)

    def plain(self) -> dict[str, Any]:
        """The table as TOML holds it; without signals as it was before there were any, so that identities stay."""
        return {key: value for key, value in super().plain().items() if key != "signal" or value}


class Flow(Table):
    """[flow]: what is integrated, and how; without it nothing is."""

    widths: tuple[Width, ...] = Field(min_length=1, description="an increasing list of widths among those of [widths]")
    rule: Literal["restart", "tolerance", "gd"] = Field("restart", description="one of restart, tolerance, gd")
    rtol: float = Field(1e-5, gt=0, le=0.1, description="a number above 0 and at most 0.1")
    atol: float = Field(1e-8, gt=0, description="a number above 0")
    loss_tolerance: float = Field(1e-7, gt=0, description="a number above 0")
    horizon: float = Field(1e6, gt=0, description="a number above 0 (a time)")
    max_steps: int = Field(100_000, ge=1, le=10**12, description="a whole number from 1 to 10^12")
    method: Literal["auto", "explicit", "dual", "lowrank"] = Field("auto", description="one of " + ", ".join(METHODS))
    gamma: float | None = Field(
        None,
        gt=0,
        description="a number above 0 (rule 'gd' only), or 'auto' for half the largest step estimated stable",
    )
    gamma_scale: float | None = Field(
        None, gt=0, description="a number above 0 (gamma 'auto' only): the part of that step to take"
    )
    save: Save = Field(default_factory=Save, description="a table { trials = 16, times = 64 }")

    @model_validator(mode="before")
    @classmethod
    def _gamma_of_gd(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("gamma") is not None:
            rule = data.get("rule", "restart")
            if rule != "gd":
                raise Refusal(f"belongs to rule 'gd', not to {show(rule)}; drop it or write rule = 'gd'", "gamma")
            if isinstance(data["gamma"], str) and data["gamma"] == AUTO:
                data = {key: value for key, value in data.items() if key != "gamma"}
        scaled = isinstance(data, Mapping) and data.get("gamma_scale") is not None
        if scaled and (data.get("rule", "restart") != "gd" or data.get("gamma") is not None):
            raise Refusal("belongs to rule 'gd' with gamma = 'auto'; drop it or write these", "gamma_scale")
        return data

    @model_validator(mode="after")
    def _fits(self) -> Self:
        increasing("widths", self.widths)
        self.check_saved(1)
        return self

    def check_saved(self, n: int) -> None:
        """Refuse to save more than can be kept; `n` is the number of entries of a signal.

        Raises
        ------
        Refusal
            With the numbers.
        """
        save, widths = self.save, len(self.widths)
        entries, words = (n, f" x {n} entries") if save.signal else (1, "")
        if save.trials * save.count * widths * entries > MOST_SAVED:
            raise Refusal(
                f"{save.trials} trials x {save.count} times x {widths} widths{words} exceed {MOST_SAVED} saved points; "
                "use fewer",
                "save",
                "flow",
            )

    def plain(self) -> dict[str, Any]:
        """The table as TOML holds it."""
        found = super().plain()
        return {**found, "gamma": AUTO} if self.rule == "gd" and self.gamma is None else found
