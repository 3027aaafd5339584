"""One trajectory beside what is proved for it: the two sides of its claims along time (theory §4, §5.3, §7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array
from mc.theory.claim_checks import flow_promises

PROMISED_FROM = (
    "sigma_A psi_0 sigma_0 radius_needed margin_paper margin_trial margin_sharp sigma_star radius_sharp sigma_low"
).split()
"""Datasets that `mc.theory.claim_checks.flow_promises` takes."""

SIDES: Mapping[str, tuple[str, ...]] = {
    "loss": ("rate", "conserved-rate"),
    "distance": ("ball",),
    "jacobian_sigma_min": ("jacobian",),
}
"""By the saved quantity, the claims that bound it."""


@dataclass(frozen=True)
class Trace:
    """A trajectory: what the claims speak of, along time.

    Parameters
    ----------
    width : int
    mode : str
    columns : mapping of str to (times,) array
        ``t``, the quantities, ``error_<quantity>`` and ``bound_<claim>_<hypothesis>``; a bound is NaN where nothing
        is proved.
    """

    width: int
    mode: str
    columns: Mapping[str, Array]

    def bounds(self, quantity: str) -> tuple[str, ...]:
        """Names of the bounds of a quantity that say something here."""
        found = {name: name.removeprefix("bound_").split("_")[0] for name in self.columns if name.startswith("bound_")}
        own = [name for name, claim in found.items() if claim in SIDES[quantity]]
        return tuple(name for name in own if np.isfinite(self.columns[name]).any())

    @staticmethod
    def hypothesis(bound: str) -> str:
        """What a bound rests on: a certificate, or the conserved quantities."""
        claim, _, end = bound.removeprefix("bound_").partition("_")
        # the rates of the theorem are stored without the name of theirs
        return end or {"rate": "trial", "conserved-rate": "conserved"}[claim]

    def quantities(self) -> tuple[str, ...]:
        """The loss, and what else is bounded."""
        return tuple(name for name in SIDES if name == "loss" or (name in self.columns and self.bounds(name)))


def promised(facts: Mapping[str, Array], mode: str, times: int) -> dict[str, Array]:
    """The bounds that do not change with time: of the path (claim ball) and of the Jacobian (claim jacobian).

    Parameters
    ----------
    facts : mapping of str to (1,) array
        Of one trial; see `PROMISED_FROM`.
    mode : {"hidden", "both"}
    times : int

    Returns
    -------
    dict of str to (times,) array
        Of the hypotheses that hold.
    """
    found = {}
    for hypothesis, promise in flow_promises(facts, mode).items():
        # the claims ball and jacobian stand under the certificates alone
        if hypothesis in ("paper", "trial", "sharp") and promise.holds[0]:
            found[f"bound_ball_{hypothesis}"] = np.full(times, promise.radius[0])
            if promise.floor_of == "jacobian_sigma_min":
                found[f"bound_jacobian_{hypothesis}"] = np.full(times, promise.floor[0])
    return found
