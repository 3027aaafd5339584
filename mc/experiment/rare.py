"""[rare]: failures too rare to be counted, and how their probability is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mc.errors import InputError
from mc.experiment.messages import Refusal, show
from mc.experiment.tables import Table, increasing
from mc.model import activations
from mc.model.activations import Activation
from mc.model.draws import OutputLaw, get_law
from mc.trial.rare import LADDER_MARGINS, MARGINS, PROBLEM_MARGINS, RELATIVE, RareSettings, closed_form, common_box

DEFAULT_THRESHOLDS = {"lambda_min": 0.75} | dict.fromkeys(LADDER_MARGINS, 1.0)


class Rare(Table):
    """[rare]."""

    margin: Literal[
        "lambda_min", "activation_norm_low", "activation_norm_high", "output_norm", "paper", "trial", "sharp", "exact"
    ] = Field(description="one of " + ", ".join(MARGINS))
    widths: tuple[Annotated[int, Field(ge=1, le=10**9)], ...] = Field(
        min_length=1, description="an increasing list of widths among those of [widths]"
    )
    mode: Literal["hidden", "both"] | None = Field(None, description="'hidden' or 'both' (a rung of the ladder only)")
    threshold: float | None = Field(None, gt=0, description="a number above 0")
    particles: int = Field(400, ge=50, le=10**6, description="a whole number from 50 to 10^6")
    repetitions: int = Field(16, ge=1, le=10**6, description="a whole number from 1 to 10^6, in all")
    per_block: int = Field(4, ge=1, le=128, description="a whole number from 1 to 128 (repetitions of a block)")
    survival: float = Field(0.25, ge=0.05, le=0.9, description="a number from 0.05 to 0.9")
    moves: int = Field(32, ge=4, le=10**5, description="a whole number from 4 to 10^5")
    max_levels: int = Field(100, ge=2, le=10**4, description="a whole number from 2 to 10^4")
    tilted: int = Field(0, ge=0, le=10**7, description="a whole number from 0 to 10^7 (0: no importance sampling)")

    @model_validator(mode="before")
    @classmethod
    def _default_threshold(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "threshold" not in data and data.get("margin") in DEFAULT_THRESHOLDS:
            return {**data, "threshold": DEFAULT_THRESHOLDS[data["margin"]]}
        return data

    @model_validator(mode="after")
    def _fits(self) -> Self:
        increasing("widths", self.widths)
        if self.margin == "exact" and self.threshold is not None:
            raise Refusal("belongs to the other margins; 'exact' fails or does not: drop it", "threshold")
        if self.margin != "exact" and self.threshold is None:
            unit = RELATIVE[self.margin]
            raise Refusal(f"is missing; margin {self.margin!r} needs it: write it as a multiple of {unit}", "threshold")
        if (self.margin in LADDER_MARGINS) != (self.mode is not None):
            rungs = ", ".join(LADDER_MARGINS)
            if self.mode is None:
                raise Refusal(f"is missing; margin {self.margin!r} needs it: write mode = 'hidden' or 'both'", "mode")
            raise Refusal(f"belongs to the margins {rungs}, not to {self.margin!r}; drop it", "mode")
        return self

    def check(self, activation: Any, law: Any, modes: tuple[str, ...], resample: tuple[str, ...]) -> None:
        """Refuse what the other tables rule out."""
        if self.mode is not None and self.mode not in modes:
            raise Refusal(f"{self.mode!r} is not a mode of [network]; use {modes[0]!r} or add it", "mode", "rare")
        if self.margin in PROBLEM_MARGINS and resample != ("cell",):
            fix = "write resample = 'cell' in [problem]"
            raise Refusal(
                f"{self.margin!r} is a failure of one problem, and each trial has its own; {fix}", "margin", "rare"
            )
        known = activations.get(activation) if activation in activations.NAMES else activation
        if self.margin == "exact" and isinstance(known, Activation):
            try:
                common_box(known)
            except InputError as error:
                raise Refusal(str(error).split("margin: ", 1)[1], "margin", "rare") from error
        if self.tilted:
            drawn = law if isinstance(law, OutputLaw) or str(law).startswith("object:") else get_law(law)
            known_law = isinstance(drawn, OutputLaw) and isinstance(known, Activation)
            if known_law and not closed_form(self.margin, known, drawn):
                what = f"margin {self.margin!r} has no tilted law in closed form here"
                raise Refusal(f"{show(self.tilted)}: {what}; write tilted = 0", "tilted", "rare")

    def settings(self) -> RareSettings:
        """The table as the simulation reads it."""
        return RareSettings(
            margin=self.margin,
            mode=self.mode or "hidden",
            threshold=0.0 if self.threshold is None else self.threshold,
            particles=self.particles,
            repetitions=self.repetitions,
            per_block=self.per_block,
            survival=self.survival,
            moves=self.moves,
            max_levels=self.max_levels,
            tilted=self.tilted,
        )
