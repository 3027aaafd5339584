"""What the theory claims, by name: statement, hypotheses, modes and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a claim speaks of."""

    IMPLICATION = "implication"
    PROBABILITY = "probability"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True)
class Claim:
    """One statement of the theory.

    Attributes
    ----------
    name : str
    kind : Kind
    formula : str
    hypothesis : str
        In words.
    modes : tuple of str
    source : str
        Section of docs/theory.md.
    hypotheses : tuple of str
        Of a claim on trajectories: the names it is checked under, as in the datasets ``slack_<claim>_<hypothesis>``.
    """

    name: str
    kind: Kind
    formula: str
    hypothesis: str
    modes: tuple[str, ...]
    source: str
    hypotheses: tuple[str, ...] = ()


ALWAYS = "always"
"""Name of the hypothesis of a claim that has none."""
LADDER = ("paper", "trial", "sharp")
_LADDER_WORDS = "paper, trial (R' < R) or sharp"
_BOTH = ("hidden", "both")


def _implication(name: str, formula: str, hypothesis: str, modes: tuple[str, ...], source: str) -> Claim:
    return Claim(name, Kind.IMPLICATION, formula, hypothesis, modes, source)


def _probability(name: str, formula: str, hypothesis: str, modes: tuple[str, ...], source: str) -> Claim:
    return Claim(name, Kind.PROBABILITY, formula, hypothesis, modes, source)


def _along(name: str, formula: str, source: str, *, modes: tuple[str, ...] = _BOTH) -> Claim:
    return Claim(name, Kind.TRAJECTORY, formula, _LADDER_WORDS, modes, source, LADDER)


def _unconditional(name: str, formula: str, source: str, *, modes: tuple[str, ...] = _BOTH) -> Claim:
    return Claim(name, Kind.TRAJECTORY, formula, "none", modes, source, (ALWAYS,))


_ALL = (
    _implication("paper-trial", "margin_trial > 1", "paper: margin_paper > 1", _BOTH, "theory §5"),
    _implication("trial-sharp", "margin_sharp > 1", "trial: margin_trial > 1", _BOTH, "theory §5.3"),
    _implication("sharp-exact", "zero loss is reached", "sharp: margin_sharp > 1", ("hidden",), "theory §7.4"),
    _probability("theory-trial", "P(trial) >= P_theory^trial(k)", "none", _BOTH, "theory §7.1-3"),
    _probability("theory-paper", "P(paper) >= P_theory^paper(k)", "none", _BOTH, "theory §7.1-3"),
    _probability("chernoff", "P(lambda_min(H) <= (1 - eta) C_dphi^2) <= delta_1(k)", "none", _BOTH, "theory §7.1"),
    _probability(
        "concentration", "P(s > upper end) <= delta_2, P(s < lower end) <= delta_4, s = |z|/sqrt k", "none", _BOTH,
        "theory §7.2",
    ),
    _probability("initial-error", "P(|y(0)| > s (...)) <= delta_3", "none", _BOTH, "theory §7.3"),
    _probability("orthant", "P(zero loss) = P(Bin(k, 1/2) >= r)", "softplus, V with a symmetric density, y != 0",
                 ("hidden",), "theory §7.4"),
    _probability("half-width", "P(zero loss) = 1/2 near k = r + 2 pi (|A^+ y|^2 + r (a + b)^2/4)/(b - a)^2",
                 "a bounded activation; a heuristic", ("hidden",), "theory §7.4"),
    _probability(
        "published", "P(zero loss) >= 1 - 1/n - 1/d (hidden), 1 - 2/n - 1/d (both)",
        "k >= C' sigma_A^-2 n psi^2 (hidden), C' sigma_A^-4 n psi^4 (both); C' is not specified", _BOTH, "theory §7",
    ),
    _along("ball", "|theta(t) - theta_0| <= R' (sharp: s*)", "theory §4(i), §5.3"),
    _along("jacobian", "sigma_min(J(t)) >= sigma_0/2 (sharp: sigma_min(A J(t)) >= sigma_*)", "theory §4(i), §5.3"),
    _along("rate", "L(t) <= Psi^-1(sigma^2 t + Psi(L_0)), sigma = sigma_A sigma_0/2 (sharp: sigma_*)",
           "theory §4(i), §5.3"),
    _along("limit", "|theta(t) - theta_inf| <= psi(Psi^-1(sigma^2 t + Psi(L_0)))/sigma", "theory §4(i), §5.3"),
    _along("early-stopping", "|y(t) - ybar| <= 2 |eps| once sigma^2 t + Psi(L_0) >= Psi(psi^-1(|eps|))",
           "theory §4(ii)"),
    _along("recovery", "|x(t) - xbar| <= (|y(t) - y| + |eps|)/lambda + (1 + |A|/lambda) dist(xbar, Sigma')",
           "theory §4(iii), §6"),
    Claim("conserved-rate", Kind.TRAJECTORY, "L(t) <= Psi^-1(sigma_A^2 sigma_low^2 t + Psi(L_0))", "sigma_low > 0",
          ("both",), "theory §7.5", ("conserved",)),
    Claim("mirror", Kind.TRAJECTORY, "L(t) <= L(w) + Breg(w, z(0))/t for every w in the box", "L convex",
          ("hidden",), "theory §7.4", (ALWAYS,)),
    _unconditional("zonotope", "the loss tends to 0 iff the exact limit says so", "theory §7.4", modes=("hidden",)),
    _unconditional("identity", "|Z^T (x(t) - xbar)| <= (|y(t) - y| + |eps|)/sigma_A", "theory §6"),
    _unconditional("kernel-drift", "|P_ker (x(t) - x(0))| <= B1 |P_ker V(0)| |h(t) - h(0)|/sqrt k", "theory §6"),
    Claim(
        "discretization", Kind.TRAJECTORY,
        "gradient descent: |theta_j - theta_0| <= R'/kappa and L_j <= Psi^-1(sigma_A^2 sigma_0^2 kappa gamma j/4 + "
        "Psi(L_0))", "R'/kappa < R and gamma < 2/beta, kappa = 1 - gamma beta/2", _BOTH, "theory §9",
        ("paper", "trial"),
    ),
)  # fmt: skip
CLAIMS: Mapping[str, Claim] = {claim.name: claim for claim in _ALL}
TRAJECTORY_CLAIMS = tuple(claim.name for claim in _ALL if claim.kind is Kind.TRAJECTORY)
"""Names of the claims that need trajectories."""
