"""The claims of the theory by name: statement, hypotheses, modes, source, and how each is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mc.theory import claim_checks as checks
from mc.theory.claim_checks import ALWAYS, Bounded, Observables, Promise, Sides, Slack, smallest_slack
from mc.theory.codes import MARGIN_RUNGS, MODES

__all__ = ["CLAIMS", "TRAJECTORY_CLAIMS", "Bounded", "Claim", "Kind", "Sides", "Slack", "smallest_slack"]


class Kind(StrEnum):
    """Subject of a claim."""

    IMPLICATION = "implication"
    PROBABILITY = "probability"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True)
class Claim:
    """One statement of the theory.

    Parameters
    ----------
    name : str
        As ``dipmc claims`` lists it.
    kind : Kind
    formula : str
        The statement.
    hypothesis : str
        The hypotheses in words; "none" where there is none.
    modes : tuple of str
        Trained layers that the claim is about: "hidden", "both".
    source : str
        Section of docs/theory.md.
    figure : str
        Kind of the figure that shows it.
    hypotheses : tuple of str
        Of a claim on trajectories: names of the hypotheses, as in the datasets ``slack_<claim>_<hypothesis>``.
    sides : callable or None
        Of a claim on trajectories: its checker, which returns the two sides of the inequality along time.
    observables : tuple of str
        Observables that the checker reads.
    rules : tuple of str
        Integration rules that the claim is about: "flow", "descent".
    retry : bool
        Whether a tighter integration can decide an undecided trial.
    vacuous : str
        Why the claim says nothing about some trials.
    """

    name: str
    kind: Kind
    formula: str
    hypothesis: str
    modes: tuple[str, ...]
    source: str
    figure: str
    hypotheses: tuple[str, ...] = ()
    sides: Callable[[Observables, Promise], Sides] | None = None
    observables: tuple[str, ...] = ()
    rules: tuple[str, ...] = ("flow",)
    retry: bool = True
    vacuous: str = ""


_HIDDEN = ("hidden",)
_LADDER_WORDS = "paper, trial (R' < R) or sharp"
_ANY_RULE = ("flow", "descent")


def _implication(name: str, formula: str, hypothesis: str, modes: tuple[str, ...], source: str) -> Claim:
    return Claim(name, Kind.IMPLICATION, formula, hypothesis, modes, source, "margins")


def _probability(name: str, formula: str, hypothesis: str, modes: tuple[str, ...], source: str, figure: str) -> Claim:
    return Claim(name, Kind.PROBABILITY, formula, hypothesis, modes, source, figure)


def _trajectory(
    name: str,
    formula: str,
    hypothesis: str,
    modes: tuple[str, ...],
    source: str,
    hypotheses: tuple[str, ...],
    sides: Callable[[Observables, Promise], Sides],
    *observables: str,
    rules: tuple[str, ...] = ("flow",),
    retry: bool = True,
    vacuous: str = "",
) -> Claim:
    return Claim(
        name, Kind.TRAJECTORY, formula, hypothesis, modes, source, "slacks", hypotheses, sides, observables, rules,
        retry, vacuous,
    )  # fmt: skip


_ALL = (
    _implication("paper-trial", "margin_trial > 1", "paper: margin_paper > 1", MODES, "theory §5"),
    _implication("trial-sharp", "margin_sharp > 1", "trial: margin_trial > 1", MODES, "theory §5.3"),
    _implication("sharp-exact", "zero loss is reached", "sharp: margin_sharp > 1", _HIDDEN, "theory §7.4"),
    _probability("theory-trial", "P(trial) >= P_theory^trial(k)", "none", MODES, "theory §7.1-3", "ladder"),
    _probability("theory-paper", "P(paper) >= P_theory^paper(k)", "none", MODES, "theory §7.1-3", "ladder"),
    _probability(
        "chernoff", "P(lambda_min(H) <= (1 - eta) C_dphi^2) <= delta_1(k)", "none", MODES, "theory §7.1", "tails",
    ),
    _probability(
        "concentration", "P(s > upper end) <= delta_2, P(s < lower end) <= delta_4, s = |z|/sqrt k", "none", MODES,
        "theory §7.2", "tails",
    ),
    _probability("initial-error", "P(|y(0)| > s (...)) <= delta_3", "none", MODES, "theory §7.3", "tails"),
    _probability(
        "orthant", "P(zero loss) = P(Bin(k, 1/2) >= r)", "softplus, V with a symmetric density, y != 0", _HIDDEN,
        "theory §7.4", "orthant",
    ),
    _probability(
        "half-width", "P(zero loss) = 1/2 near k = r + 2 pi (|A^+ y|^2 + r (a + b)^2/4)/(b - a)^2",
        "a bounded activation; a heuristic", _HIDDEN, "theory §7.4", "ladder",
    ),
    _probability(
        "published", "P(zero loss) >= 1 - 1/n - 1/d (hidden), 1 - 2/n - 1/d (both)",
        "k >= C' sigma_A^-2 n psi^2 (hidden), C' sigma_A^-4 n psi^4 (both); C' is not specified", MODES, "theory §7",
        "published",
    ),
    _trajectory(
        "ball", "|theta(t) - theta_0| <= R' (sharp: s*)", _LADDER_WORDS, MODES, "theory §4(i), §5.3", MARGIN_RUNGS,
        checks.ball, "distance",
    ),
    _trajectory(
        "jacobian", "sigma_min(J(t)) >= sigma_0/2 (sharp: sigma_min(A J(t)) >= sigma_*)", _LADDER_WORDS, MODES,
        "theory §4(i), §5.3", MARGIN_RUNGS, checks.jacobian, "jacobian_sigma_min", "observed_sigma_min",
    ),
    _trajectory(
        "rate", "L(t) <= Psi^-1(sigma^2 t + Psi(L_0)), sigma = sigma_A sigma_0/2 (sharp: sigma_*)", _LADDER_WORDS,
        MODES, "theory §4(i), §5.3", MARGIN_RUNGS, checks.rate, "loss",
    ),
    _trajectory(
        "limit", "|theta(t) - theta_inf| <= psi(Psi^-1(sigma^2 t + Psi(L_0)))/sigma", _LADDER_WORDS, MODES,
        "theory §4(i), §5.3", MARGIN_RUNGS, checks.limit, "limit_distance",
    ),
    _trajectory(
        "early-stopping", "|y(t) - ybar| <= 2 |eps| once sigma^2 t + Psi(L_0) >= Psi(psi^-1(|eps|))", _LADDER_WORDS,
        MODES, "theory §4(ii)", MARGIN_RUNGS, checks.early_stopping, "observation_error",
    ),
    _trajectory(
        "recovery", "|x(t) - xbar| <= (|y(t) - y| + |eps|)/lambda + (1 + |A|/lambda) dist(xbar, Sigma')",
        _LADDER_WORDS, MODES, "theory §4(iii), §6", MARGIN_RUNGS, checks.recovery, "signal_error", "distance",
        vacuous="the tangent cone meets ker(A)",
    ),
    _trajectory(
        "conserved-rate", "L(t) <= Psi^-1(sigma_A^2 sigma_low^2 t + Psi(L_0))", "sigma_low > 0", ("both",),
        "theory §7.5", ("conserved",), checks.rate, "loss",
    ),
    _trajectory(
        "mirror", "L(t) <= L(w) + Breg(w, z(0))/t for every w in the box", "L convex", _HIDDEN, "theory §7.4",
        (ALWAYS,), checks.mirror, "loss", "bregman",
    ),
    _trajectory(
        "zonotope", "the loss tends to 0 iff the exact limit says so", "none", _HIDDEN, "theory §7.4", (ALWAYS,),
        checks.zonotope, "residual", retry=False,
    ),
    _trajectory(
        "identity", "|Z^T (x(t) - xbar)| <= (|y(t) - y| + |eps|)/sigma_A", "none", MODES, "theory §6", (ALWAYS,),
        checks.identity, "signal_error_range", "residual", rules=_ANY_RULE, retry=False,
    ),
    _trajectory(
        "kernel-drift", "|P_ker (x(t) - x(0))| <= B1 |P_ker V(0)| |h(t) - h(0)|/sqrt k", "none", MODES, "theory §6",
        (ALWAYS,), checks.kernel_drift, "kernel_drift", "hidden_distance", rules=_ANY_RULE, retry=False,
    ),
    _trajectory(
        "discretization",
        "gradient descent: |theta_j - theta_0| <= R'/kappa and L_j <= Psi^-1(sigma_A^2 sigma_0^2 kappa gamma j/4 + "
        "Psi(L_0))",
        "R'/kappa < R and gamma < 2/beta, kappa = 1 - gamma beta/2", MODES, "theory §9", ("paper", "trial"),
        checks.discretization, "distance", "loss", rules=("descent",), retry=False,
    ),
)  # fmt: skip
CLAIMS: Mapping[str, Claim] = {claim.name: claim for claim in _ALL}
TRAJECTORY_CLAIMS = tuple(claim.name for claim in _ALL if claim.kind is Kind.TRAJECTORY)
"""Names of the claims that need trajectories."""
