"""One trajectory with the bounds that the claims prove for it along time (theory §4, §5.3, §7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array
from mc.theory.claim_checks import flow_promises

RATES = {"bound_rate": "trial", "bound_rate_sharp": "sharp", "bound_conserved-rate": "conserved"}
"""Datasets of the rates along saved trajectories, and their hypotheses."""

PROMISED_FROM = (
    "sigma_A psi_0 sigma_0 radius_needed margin_paper margin_trial margin_sharp sigma_star radius_sharp sigma_low"
).split()
"""Datasets that `mc.theory.claim_checks.flow_promises` takes."""

SIDES: Mapping[str, tuple[str, ...]] = {
    "loss": ("rate", "conserved-rate"),
    "distance": ("ball",),
    "jacobian_sigma_min": ("jacobian",),
}
"""Claims that bound a saved observable, by observable."""


@dataclass(frozen=True)
class Trajectory:
    """Observables of one trajectory along time, with the bounds of the claims."""

    width: int
    mode: str
    columns: Mapping[str, Array]
    """``t``, observables, ``error_<observable>`` and ``bound_<claim>_<hypothesis>``, each (times,).

    A bound is NaN where nothing is proved.
    """

    def bounds(self, observable: str) -> tuple[str, ...]:
        """Return the names of the bounds of an observable that are proved at some time."""
        names = [name for name in self.columns if name.startswith("bound_")]
        bounding = [name for name in names if name.removeprefix("bound_").split("_")[0] in SIDES[observable]]
        return tuple(name for name in bounding if np.isfinite(self.columns[name]).any())

    @staticmethod
    def hypothesis(bound: str) -> str:
        """Return the hypothesis of a bound: a certificate, or the conserved quantities."""
        return RATES.get(bound, bound.rpartition("_")[2])

    def observables(self) -> tuple[str, ...]:
        """Return the loss, and the other bounded observables."""
        return tuple(name for name in SIDES if name == "loss" or (name in self.columns and self.bounds(name)))


def constant_bounds(facts: Mapping[str, Array], mode: str, times: int) -> dict[str, Array]:
    """Return the bounds of one trajectory constant in time, repeated ``times`` times, by column of `Trajectory`.

    They bound the path (claim ball) and the Jacobian (claim jacobian) under the hypotheses that hold; ``facts`` are the
    datasets `PROMISED_FROM` of the trial, (1,) each.
    """
    columns = {}
    for hypothesis, promise in flow_promises(facts, mode).items():
        # the claims ball and jacobian need one of the certificates
        if hypothesis in ("paper", "trial", "sharp") and promise.holds[0]:
            columns[f"bound_ball_{hypothesis}"] = np.full(times, promise.radius[0])
            if promise.floor_of == "jacobian_sigma_min":
                columns[f"bound_jacobian_{hypothesis}"] = np.full(times, promise.floor[0])
    return columns
