"""Predictions for a rare failure: an upper bound of its probability, its rate, or its exact law (theory §7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betainc

from mc.estimate.widths.predicted import CellTheory
from mc.model.arrays import Array
from mc.theory import bounds, constants
from mc.theory.constants import Setting

SPLITS = 400
"""Ways to share the failure between the two events behind a large output."""


@dataclass(frozen=True)
class RareTheory:
    """A bound of the probability of a failure."""

    name: str  # in a legend
    source: str  # section of the theory
    failure: Array  # upper bound by width, at most 1; the probability itself where `exact`
    rate: float  # limit of -log(bound)/k; NaN where the theory names none
    exact: bool = False


def rare_theory(
    table: Mapping[str, Any], output_law: str, theory: CellTheory | None, rank: int, widths: Array
) -> RareTheory | None:
    """Return the bound that belongs to the failure of a complete [rare] table; None where the theory gives none.

    `rank` is that of the operator.
    """
    if theory is None:
        return None
    setting, margin = theory.settings[0], table["margin"]
    k = np.asarray(widths, dtype=np.float64)
    if margin == "exact" and setting.activation.name == "softplus" and output_law in ("uniform", "gaussian"):
        # fewer than r of k signs; the law needs y != 0 and a density
        fewer = np.where(k < rank, 1.0, betainc(np.maximum(k - rank + 1.0, 0.5), rank, 0.5))
        return RareTheory("exact law", "theory §7.4", fewer, float(np.log(2.0)), exact=True)
    if theory.outside:
        return None
    if margin == "lambda_min":
        return _chernoff(setting, float(table["threshold"]), k)
    if margin in ("activation_norm_low", "activation_norm_high"):
        return _activation_norm(setting, margin, float(table["threshold"]), k)
    if margin == "output_norm":
        return RareTheory("bound", "theory §7.2-3", _large_output(setting, float(table["threshold"]), k), np.nan)
    if table.get("threshold", 1.0) > 1.0:
        return None
    form, mode = ("paper" if margin == "paper" else "trial"), table.get("mode", "hidden")
    return RareTheory(f"1 - P_theory ({form})", "theory §7.1-3", bounds.failure(setting, mode, form, k), np.nan)


def _chernoff(setting: Setting, threshold: float, k: Array) -> RareTheory | None:
    """Return delta_1 for P(lambda_min <= threshold C_dphi^2)."""
    eta = 1.0 - threshold
    if not 0.0 < eta < 1.0:
        return None
    activation, n = setting.activation, setting.n
    failure = constants.chernoff_failure(
        k, eta, n=n, moment_dphi=activation.moment_dphi, sup_dphi=activation.sup_dphi, entry_bound=setting.entry_bound
    )
    scale = (activation.moment_dphi / (activation.sup_dphi * setting.entry_bound)) ** 2 / n
    return RareTheory("delta_1 (matrix Chernoff)", "theory §7.1", failure, float(constants.chernoff_rate(eta)) * scale)


def _activation_norm(setting: Setting, margin: str, threshold: float, k: Array) -> RareTheory:
    """Return delta_2 or delta_4 for an activation norm beyond threshold C_phi."""
    activation = setting.activation
    moment, sup = activation.moment_phi, activation.sup_dphi
    if margin == "activation_norm_high":
        limit = (threshold - 1.0) * moment
        gap = np.full(k.shape, limit)
    else:
        limit = (1.0 - threshold) * moment
        gap = np.sqrt(np.maximum(moment**2 - sup**2 / k, 0.0)) - threshold * moment
    name = "delta_2" if margin == "activation_norm_high" else "delta_4"
    failure = np.exp(-k * np.square(np.maximum(gap, 0.0)) / (2.0 * sup**2))
    return RareTheory(name, "theory §7.2", failure, max(limit, 0.0) ** 2 / (2.0 * sup**2))


def _large_output(setting: Setting, threshold: float, k: Array) -> Array:
    """Return the least delta_2 + delta_3 whose bounds together stay below the threshold, over a grid of delta_2."""
    activation = setting.activation
    limit = threshold * activation.moment_phi * setting.frobenius_A
    delta_2 = np.append(np.exp(-np.geomspace(1e-3, 690.0, SPLITS)), 0.0)[:, None]
    norm = constants.activation_norm_upper(
        k, delta_2, moment_phi=activation.moment_phi, sup_dphi=activation.sup_dphi, sup_phi=activation.sup_phi
    )
    # |A|_F^2 + 2 |A A^T|_F x + 2 |A|^2 x^2 = (limit/norm)^2 with x = sqrt(log 1/delta_3)
    gain = np.maximum(np.square(limit / norm) - setting.frobenius_A**2, 0.0)
    cross = setting.frobenius_AAT
    root = gain / (cross + np.sqrt(cross**2 + 2.0 * setting.norm_A**2 * gain))
    total = np.where(gain > 0.0, delta_2 + np.exp(-np.square(root)), 1.0)
    return np.asarray(np.minimum(total.min(axis=0), 1.0))
