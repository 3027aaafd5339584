"""Which method is used for what, by which experiments, and what to cite for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.report.citations.entry import Citation
from mc.report.citations.references import REFERENCES

Used = Callable[[Experiment], bool]


def _always(_: Experiment) -> bool:
    return True


def _never(_: Experiment) -> bool:
    """Only where it is called from Python, or by a command that is about no run."""
    return False


def _bounds(experiment: Experiment) -> bool:
    """P_theory stands beside the certificates that it bounds."""
    return bool({"paper", "trial"} & set(experiment.ladder))


def _exact(experiment: Experiment) -> bool:
    return "exact" in experiment.ladder


def _softplus(experiment: Experiment) -> bool:
    return _exact(experiment) and experiment.network.activation == "softplus"


def _wright(experiment: Experiment) -> bool:
    return experiment.network.activation in ("sigmoid", "softplus")


def _integrates(experiment: Experiment) -> bool:
    return experiment.flow is not None and experiment.flow.rule != "gd"


def _steps(experiment: Experiment) -> bool:
    return experiment.flow is not None and experiment.flow.rule == "gd"


def _with(*methods: str) -> Used:
    """Whether an integration may use one of these methods."""

    def used(experiment: Experiment) -> bool:
        return _integrates(experiment) and experiment.flow is not None and experiment.flow.method in methods

    return used


def _dual(experiment: Experiment) -> bool:
    return "hidden" in experiment.modes and _with("auto", "dual")(experiment)


def _citation(key: str, used_for: str, *references: str) -> Citation:
    return Citation(key, used_for, tuple(REFERENCES[name] for name in references))


_METHODS: tuple[tuple[Citation, Used], ...] = (
    (_citation("guarantee", "the theory under test; its constants here are ours (theory §4-§7)", "buskulic2023gretsi",
               "buskulic2023wide", "buskulic2023recovery"), _always),
    (_citation("descent-guarantee", "gradient descent in place of the flow (theory §9)", "buskulic2024descent"),
     _steps),
    (_citation("kl-inequality", "losses: from the size of the gradient to the length of the path (theory §2)",
               "lojasiewicz1963", "kurdyka1998"), _always),
    (_citation("matrix-chernoff", "P_theory: conditioning of the Jacobian, delta_1 (theory §7.1)", "tropp2012"),
     _bounds),
    (_citation("concentration", "P_theory: size of the activations, delta_2 and delta_4 (theory §7.2)",
               "boucheron2013"), _bounds),
    (_citation("hsu-kakade-zhang", "P_theory: initial observation, delta_3 (theory §7.3)", "hsu2012", "laurent2000"),
     _bounds),
    (_citation("mirror-flow", "hidden layer: mirror flow and its limit (theory §3.3, §7.4)", "bregman1967",
               "nemirovski1983", "alvarez2004"), lambda e: "hidden" in e.modes),
    (_citation("linear-programme", "exact rung: what cheaper arguments leave open (theory §7.4)", "huangfu2018"),
     _exact),
    (_citation("orthant-law", "softplus, hidden layer: law of zero loss at every width (theory §7.4)", "wendel1962",
               "zaslavsky1975"), _softplus),
    (_citation("comparison", "heuristic for the width at which half of the draws reach zero loss (theory §7.4)",
               "gordon1988"), _exact),
    (_citation("wright-omega", "softplus and sigmoid: inverses of the primitives (theory §3.3, §7.5)", "corless1996",
               "corless2002", "fritsch1973"), _wright),
    (_citation("exponential-rosenbrock", "integration of the hidden layer in the dual variable: exprb43",
               "hochbruck2009", "hochbruck2010", "gustafsson1994"), _dual),
    (_citation("exponential-runge-kutta", "integration of stiff flows: ETDRK4 with a split of low rank", "krogstad2005",
               "whalen2015", "hochbruck2010", "gustafsson1994"), _with("auto", "lowrank")),
    (_citation("dormand-prince", "integration of flows that are not stiff: the pair 5(4) and its interpolant",
               "dormand1980", "shampine1986", "hairer1993", "gustafsson1994"), _with("auto", "explicit")),
    (_citation("clopper-pearson", "limits of probabilities and violation rates at a fixed number of trials",
               "clopper1934"), lambda e: e.sampling is None),
    (_citation("beta-binomial", "confidence sequences: limits that hold however the number of trials was chosen",
               "ville1939", "robbins1970", "howard2021"), lambda e: e.sampling is not None),
    (_citation("holm", "adjustment of p-values over claims", "holm1979"), _always),
    (_citation("mcnemar", "comparison of two rungs on the same trials", "mcnemar1947"), _always),
    (_citation("dkw-massart", "bands of distribution functions: first certified widths, times of convergence",
               "dvoretzky1956", "massart1990"), _always),
    (_citation("kaplan-meier", "times of convergence, some of them censored", "kaplan1958"),
     lambda e: e.flow is not None),
    (_citation("splitting", "rare failures: multilevel splitting, moves that keep the law, interval of the mean",
               "kahn1951", "cerou2007", "cotter2013", "olsson2005"), lambda e: e.rare is not None),
    (_citation("tilting", "rare failures: importance sampling under the tilted law of a neuron", "siegmund1976"),
     lambda e: e.rare is not None and e.rare.tilted > 0),
    (_citation("hoeffding", "limits by Hoeffding's inequality, in plans and on request", "hoeffding1963"), _never),
    (_citation("wilson", "approximate intervals, on request from Python", "wilson1927", "brown2001"), _never),
    (_citation("jeffreys", "approximate intervals, on request from Python", "brown2001"), _never),
    (_citation("firth", "fitted width at which a probability is reached, on request from Python", "firth1993",
               "kosmidis2021"), _never),
    (_citation("random-streams", "PCG64DXSM at the address of each draw", "oneill2014"), _always),
    (_citation("numpy-scipy", "arrays, linear algebra, special functions", "harris2020", "virtanen2020"), _always),
)  # fmt: skip

CITATIONS: Mapping[str, Citation] = {citation.key: citation for citation, _ in _METHODS}
"""Every method by its key, the theory before its computation."""


def for_experiment(experiment: Experiment) -> tuple[Citation, ...]:
    """The methods that a run of this experiment, and its report, may use.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    tuple of Citation
        In the order of `CITATIONS`. Of an integration by ``method = "auto"`` all the methods that it chooses from.
    """
    return tuple(citation for citation, used in _METHODS if used(experiment))


def named(keys: tuple[str, ...]) -> tuple[Citation, ...]:
    """The methods of these keys, in the order given.

    Raises
    ------
    InputError
        For a key that there is not.
    """
    for key in keys:
        if key not in CITATIONS:
            raise InputError(f"{key!r} is no method and no run folder; use one of {', '.join(CITATIONS)}")
    return tuple(CITATIONS[key] for key in keys)
