"""Read [rare]: `mc.trial.rare.settings.RareSettings`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from mc.errors import InputError
from mc.experiment.messages import Refusal, show
from mc.experiment.tables import AS_TABLE, increasing, keys
from mc.model import activations
from mc.model.activations import Activation
from mc.model.draws import OutputLaw, get_law
from mc.theory.codes import MARGIN_RUNGS
from mc.trial.rare.attainable import common_box
from mc.trial.rare.settings import PROBLEM_MARGINS, RELATIVE, RareSettings
from mc.trial.rare.tilting import closed_form

DEFAULT_THRESHOLDS = {"lambda_min": 0.75} | dict.fromkeys(MARGIN_RUNGS, 1.0)


def _default_threshold(data: Any) -> Any:
    if isinstance(data, Mapping) and "threshold" not in data and data.get("margin") in DEFAULT_THRESHOLDS:
        return {**data, "threshold": DEFAULT_THRESHOLDS[data["margin"]]}
    return data


def _check(rare: RareSettings) -> RareSettings:
    margin = rare.margin
    if not rare.widths:
        raise Refusal(f"is missing; write widths = {keys(RareSettings)['widths']}", "widths")
    increasing("widths", rare.widths)
    if margin == "exact" and rare.threshold is not None:
        raise Refusal("belongs to the other margins; 'exact' fails or does not: drop it", "threshold")
    if margin != "exact" and rare.threshold is None:
        unit = RELATIVE[margin]
        raise Refusal(f"is missing; margin {margin!r} needs it: write it as a multiple of {unit}", "threshold")
    if margin in MARGIN_RUNGS and rare.mode is None:
        raise Refusal(f"is missing; margin {margin!r} needs it: write mode = 'hidden' or 'both'", "mode")
    if margin not in MARGIN_RUNGS and rare.mode is not None:
        raise Refusal(f"belongs to the margins {', '.join(MARGIN_RUNGS)}, not to {margin!r}; drop it", "mode")
    return rare


Rare = Annotated[RareSettings, AS_TABLE, BeforeValidator(_default_threshold), AfterValidator(_check)]


def check_rare(
    rare: RareSettings, activation: Any, law: Any, modes: tuple[str, ...], resample: tuple[str, ...]
) -> None:
    """Refuse a [rare] that the tables [network] and [problem] rule out."""
    margin = rare.margin
    if rare.mode is not None and rare.mode not in modes:
        raise Refusal(f"{rare.mode!r} is not a mode of [network]; use {modes[0]!r} or add it", "mode", "rare")
    if margin in PROBLEM_MARGINS and resample != ("cell",):
        fix = "write resample = 'cell' in [problem]"
        raise Refusal(f"{margin!r} is a failure of one problem, and each trial has its own; {fix}", "margin", "rare")
    known = activations.get(activation) if activation in activations.NAMES else activation
    if margin == "exact" and isinstance(known, Activation):
        try:
            common_box(known)
        except InputError as error:
            raise Refusal(str(error).split("margin: ", 1)[1], "margin", "rare") from error
    if rare.tilted:
        drawn = law if isinstance(law, OutputLaw) or str(law).startswith("object:") else get_law(law)
        known_law = isinstance(drawn, OutputLaw) and isinstance(known, Activation)
        if known_law and not closed_form(margin, known, drawn):
            reason = f"margin {margin!r} has no tilted law in closed form here"
            raise Refusal(f"{show(rare.tilted)}: {reason}; write tilted = 0", "tilted", "rare")
