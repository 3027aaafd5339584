"""Read [flow] and [flow.save]: `mc.flow.settings.FlowSettings`, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from mc.experiment.messages import Refusal, show
from mc.experiment.tables import AS_TABLE, AUTO, increasing, keys
from mc.flow.settings import FlowSettings

MOST_SAVED = 5 * 10**7


def check_times(value: Any) -> int | tuple[float, ...]:
    """Return the times to save, or refuse them."""
    fix = "use a whole number from 2 to 10000 (log-spaced times) or an increasing list of positive times"

    def refuse(reason: str) -> Refusal:
        return Refusal(f"{show(value)} {reason}; {fix}", "times", "flow.save")

    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 10**4:
        return value
    if not isinstance(value, tuple) or not 1 <= len(value) <= 10**4:
        raise refuse("is not valid")
    if any(isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 < t < math.inf for t in value):
        raise refuse("holds an entry that is not a positive number")
    times = tuple(float(t) for t in value)
    if any(a >= b for a, b in pairwise(times)):
        raise refuse("is not increasing")
    return times


def _prepare(data: Any) -> Any:
    """Check the times and gamma of a raw table; drop gamma = 'auto', which is the default of rule 'gd'."""
    if not isinstance(data, Mapping):
        return data
    save = data.get("save")
    if isinstance(save, Mapping) and "times" in save:
        data = {**data, "save": {**save, "times": check_times(save["times"])}}
    rule = data.get("rule", "restart")
    if data.get("gamma") is not None:
        if rule != "gd":
            raise Refusal(f"belongs to rule 'gd', not to {show(rule)}; drop it or write rule = 'gd'", "gamma")
        if data["gamma"] == AUTO:
            data = {key: value for key, value in data.items() if key != "gamma"}
    if data.get("gamma_scale") is not None and (rule != "gd" or data.get("gamma") is not None):
        raise Refusal("belongs to rule 'gd' with gamma = 'auto'; drop it or write these", "gamma_scale")
    return data


def _check(flow: FlowSettings) -> FlowSettings:
    if not flow.widths:
        raise Refusal(f"is missing; write widths = {keys(FlowSettings)['widths']}", "widths")
    increasing("widths", flow.widths)
    check_saved(flow, 1)
    return flow


Flow = Annotated[FlowSettings, AS_TABLE, BeforeValidator(_prepare), AfterValidator(_check)]


def check_saved(flow: FlowSettings, n: int) -> None:
    """Refuse to save more numbers than memory holds; `n` is the number of entries of a signal."""
    save, widths = flow.save, len(flow.widths)
    entries, factor = (n, f" x {n} entries") if save.signal else (1, "")
    if save.trials * save.count * widths * entries > MOST_SAVED:
        raise Refusal(
            f"{save.trials} trials x {save.count} times x {widths} widths{factor} exceed {MOST_SAVED} saved points; "
            "use fewer",
            "save",
            "flow",
        )
