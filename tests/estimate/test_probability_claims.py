"""Claims on probabilities: the true right-hand sides are not contradicted, deliberately broken ones are.

Every case is drawn here with plain NumPy at sizes where the claim is tight enough for a few thousand trials to see the
difference, or computed by the suite itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mc.estimate.cells.study import study_run
from mc.estimate.claims.finding import NOT_CONTRADICTED, Finding, adjudicate
from mc.estimate.claims.points import Points, Side, judge
from mc.estimate.claims.published import constant, constants, published
from mc.estimate.claims.run_findings import run_findings, theory_finding
from mc.estimate.claims.tails import DELTAS, chernoff, concentration, initial_error, smallest_eigenvalue
from mc.estimate.claims.zero_loss import HEURISTIC, half_width, orthant, orthant_law
from mc.estimate.flows.protocol import zero_loss
from mc.estimate.probability.counts import Counts, Decision
from mc.estimate.widths.contour import heuristic_width
from mc.estimate.widths.predicted import Ensemble
from mc.experiment.experiment import Experiment
from mc.model import activations, losses
from mc.model.draws import get_law
from mc.runner import execute
from mc.store.results import CellResults, Results, load
from mc.theory.codes import Exact
from mc.theory.constants import activation_norm_lower, activation_norm_upper, chernoff_failure, initial_output_upper

TRIALS = 4000
NONE = np.arange(0)


def cell(data: Mapping[str, Any], widths: list[int], n: int, m: int, modes: tuple[str, ...]) -> CellResults:
    """Results of one cell that hold these datasets."""
    problem = {"n": n, "m": m, "operator": "orthonormal", "resample": "cell"}
    trials = len(next(iter(data.values())))
    return CellResults(0, "0" * 16, problem, {}, modes, trials, np.array(widths), NONE, NONE, data)


def drawn(rng: np.random.Generator, activation: str, law: str, n: int, widths: list[int]) -> CellResults:
    """Networks drawn plainly: singular values of the dense Jacobian, |y(0)| for A = I, s."""
    phi = activations.get(activation)
    found: dict[str, np.ndarray] = {
        name: np.empty((TRIALS, len(widths))) for name in ("activation_scale", "norm_y0", "psi_0")
    }
    sigma = np.empty((2, TRIALS, len(widths)))
    for at, k in enumerate(widths):
        h = rng.standard_normal((TRIALS, k))
        V = rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (TRIALS, n, k))
        if law == "rademacher":
            V = np.sign(V)
        scaled = V * phi.dphi(h)[:, None, :]
        gram = scaled @ scaled.swapaxes(1, 2) / k
        square = np.square(phi.phi(h)).mean(axis=1)
        lowest = np.linalg.eigvalsh(gram)[:, 0].clip(0.0)
        sigma[0, :, at], sigma[1, :, at] = np.sqrt(lowest), np.sqrt(lowest + square)
        found["activation_scale"][:, at] = np.sqrt(square)
        found["norm_y0"][:, at] = np.linalg.norm(V @ phi.phi(h)[:, :, None], axis=1)[:, 0] / np.sqrt(k)
    found["psi_0"][:] = 1.0
    norms = {"norm_A": 1.0, "sigma_A": 1.0, "frobenius_A": np.sqrt(n), "frobenius_AAT": np.sqrt(n), "norm_y": 1.0}
    columns = {name: np.full(TRIALS, value) for name, value in norms.items()}
    return cell({**columns, **found, "sigma_0": sigma}, widths, n, n, ("hidden", "both"))


def ensemble(activation: str, law: str) -> Ensemble:
    return Ensemble(get_law(law), activations.get(activation), losses.get("mse"))


def only(found: Any) -> Finding:
    (one,) = found
    assert isinstance(one, Finding)
    return one


@pytest.fixture(scope="module")
def sigmoid() -> CellResults:
    """n = 1: matrix Chernoff is Chernoff's bound, within a factor of a few of the truth at small k."""
    rng = np.random.Generator(np.random.PCG64DXSM(7))
    return drawn(rng, "sigmoid", "uniform", 1, [3, 10, 30])


@pytest.fixture(scope="module")
def linear() -> CellResults:
    """phi(h) = h: s^2 is chi^2/k, the case for which Gaussian concentration is made."""
    rng = np.random.Generator(np.random.PCG64DXSM(8))
    return drawn(rng, "identity", "rademacher", 1, [3, 10, 30])


def test_chernoff_is_not_contradicted_and_a_millionth_of_it_is(sigmoid: CellResults) -> None:
    true = only(chernoff(sigmoid, ensemble("sigmoid", "uniform")))
    assert true.verdict in ("supported", "undecided")
    assert true.p_against == 1.0
    assert true.slack_min > 0.0

    def millionth(*args: Any, **kwargs: Any) -> np.ndarray:
        return 1e-6 * chernoff_failure(*args, **kwargs)

    broken = only(chernoff(sigmoid, ensemble("sigmoid", "uniform"), bound=millionth))
    assert broken.verdict == "contradicted"
    assert broken.slack_min < 0.0
    assert broken.address is not None
    assert broken.address[1] in sigmoid.widths


def test_chernoff_with_another_mean_is_contradicted(sigmoid: CellResults) -> None:
    """C_dphi twice too large: the smallest eigenvalue seems always to fall short."""

    class Wrong(type(activations.get("sigmoid"))):  # type: ignore[misc]
        moment_dphi = 2.0 * activations.get("sigmoid").moment_dphi

    assert only(chernoff(sigmoid, Ensemble(get_law("uniform"), Wrong(), losses.get("mse")))).verdict == "contradicted"


def test_the_smallest_eigenvalue_is_the_same_from_either_mode(sigmoid: CellResults) -> None:
    named = ensemble("sigmoid", "uniform")
    hidden = smallest_eigenvalue(sigmoid, named)
    alone = replace(sigmoid, modes=("both",), data={**sigmoid.data, "sigma_0": sigmoid["sigma_0"][1:]})
    both = smallest_eigenvalue(alone, named)
    assert hidden is not None
    assert both is not None
    assert (hidden[0], both[0]) == ("hidden", "both")
    # lambda comes from a difference of squares below 2: a few units in the last place of it, within the stated errors
    assert np.all(np.abs(hidden[1] - both[1]) <= hidden[2] + both[2])
    assert np.all(both[2] < 1e-11)


def test_concentration_is_not_contradicted_and_half_its_deviation_is(linear: CellResults) -> None:
    named = ensemble("identity", "rademacher")
    true = only(concentration(linear, named))
    assert true.verdict == "supported"
    assert true.slack_min > 0.0

    def shrunk(end: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def bound(k: np.ndarray, delta: float, **moments: float) -> np.ndarray:
            # s has standard deviation near 1/sqrt(2 k), the theorem's deviation is sqrt(2 log(1/delta)/k): with a tenth
            # of it the tail at delta = 0.01 is that of 0.43 standard deviations, about 0.33
            return 1.0 + 0.1 * (end(k, delta, **moments) - 1.0)

        return bound

    high = only(concentration(linear, named, upper=shrunk(activation_norm_upper)))
    low = only(concentration(linear, named, lower=shrunk(activation_norm_lower)))
    assert (high.verdict, low.verdict) == ("contradicted", "contradicted")
    parts = {
        part
        for found in (low,)
        for part, verdict in zip(found.judgement.parts, found.judgement.verdicts, strict=True)
        if verdict == "contradicted"
    }
    assert parts == {"s < lower end"}


def test_an_end_that_nothing_can_pass_is_vacuous(sigmoid: CellResults) -> None:
    found = only(concentration(sigmoid, ensemble("sigmoid", "uniform")))
    assert found.judgement is not None
    points = found.judgement
    # sup|phi| = 1 = C_phi + B1 sqrt(2 log(1/delta)/k) at k = 3, delta = 0.01: 0.54 + 0.25 * 1.75 = 0.98 says something,
    # and the lower end sqrt(0.293 - 0.0208) - 0.44 = 0.08 too; at k = 3 no lower end of delta = 0.001 would
    says = points.says.reshape(len(DELTAS), 2, len(sigmoid.widths))
    assert says.all()
    narrow = replace(sigmoid, widths=np.array([1, 10, 30]))
    says = only(concentration(narrow, ensemble("sigmoid", "uniform"))).judgement.says
    assert not says.reshape(len(DELTAS), 2, 3)[-1, :, 0].any()


@pytest.mark.parametrize("hypothesis", ["sub-Gaussian entries", "bounded entries"])
def test_the_initial_error_is_not_contradicted_and_a_shrunk_bound_is(linear: CellResults, hypothesis: str) -> None:
    named = ensemble("identity", "rademacher")

    def checked(**bound: Any) -> Finding:
        return next(f for f in initial_error(linear, named, **bound) if f.hypothesis == hypothesis)

    assert checked().verdict == "supported"

    def shrunk(*args: Any, **kwargs: Any) -> np.ndarray:
        # given h, y(0) is nearly N(0, s^2): a third of the forms is s (1 + 2 x + 2 x^2)^(1/2)/3, x^2 = log(1/delta),
        # 1.3 s at delta = 0.01, passed with probability 0.2; the bounded one at 2.35 s, passed with probability 0.019
        return initial_output_upper(*args, **kwargs) / 3.0

    assert checked(bound=shrunk).verdict == "contradicted"


def test_a_wrong_norm_of_the_operator_is_contradicted(linear: CellResults) -> None:
    wrong = {name: 0.2 * linear[name] for name in ("norm_A", "frobenius_A")}
    wrong["frobenius_AAT"] = 0.04 * linear["frobenius_AAT"]
    broken = replace(linear, data={**linear.data, **wrong})
    verdicts = {f.hypothesis: f.verdict for f in initial_error(broken, ensemble("identity", "rademacher"))}
    assert verdicts["sub-Gaussian entries"] == "contradicted"


def orthants(rng: np.random.Generator, rank: int, widths: list[int]) -> CellResults:
    """Draws from the law itself: the exact verdict of softplus is whether k fair coins give r heads."""
    heads = rng.binomial(np.array(widths), 0.5, (TRIALS, len(widths)))
    data = {
        "exact": np.where(heads >= rank, Exact.REACHES_ZERO, Exact.CANNOT).astype(np.int8),
        "rank": np.full(TRIALS, rank),
        "norm_y": np.ones(TRIALS),
    }
    return cell(data, widths, 5, rank, ("hidden",))


SOFTPLUS = {"network": {"activation": "softplus", "output_law": "uniform"}}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda k, r: orthant_law(np.maximum(k - 1, 1), r),
        lambda k, r: orthant_law(k, r + 1),
        lambda k, r: orthant_law(k, r - 1),
    ],
    ids=["one neuron less", "one rank more", "one rank less"],
)
def test_the_orthant_law_is_not_contradicted_and_its_neighbours_are(wrong: Any, rng: np.random.Generator) -> None:
    stored = orthants(rng, 3, [2, 3, 5, 8, 12])
    true = only(orthant(stored, SOFTPLUS))
    assert true.verdict == NOT_CONTRADICTED
    assert true.hypothesis_true == TRIALS
    broken = only(orthant(stored, SOFTPLUS, law=wrong))
    assert broken.verdict == "contradicted"
    assert broken.address is not None
    assert not broken.lower <= wrong(np.array([broken.address[1]]), 3)[0] <= broken.upper


def test_the_orthant_law_is_the_binomial_tail() -> None:
    k = np.array([1, 2, 5, 9, 40])
    for rank in (1, 3, 5):
        np.testing.assert_allclose(orthant_law(k, rank), stats.binom.sf(rank - 1, k, 0.5), rtol=1e-12)


def test_the_orthant_law_speaks_of_softplus_with_a_density_and_y_not_zero(rng: np.random.Generator) -> None:
    stored = orthants(rng, 2, [2, 4])
    assert not list(orthant(stored, {"network": {"activation": "sigmoid"}}))
    covered = {"network": {"activation": "softplus", "output_law": "rademacher"}}
    assert only(orthant(stored, covered)).verdict == "vacuous"
    stored.data["norm_y"][:100] = 0.0
    found = only(orthant(stored, SOFTPLUS))
    assert (found.hypothesis_true, found.trials) == (TRIALS - 100, TRIALS)


def test_undecided_trials_cannot_contradict_the_law(rng: np.random.Generator) -> None:
    stored = orthants(rng, 3, [5])
    stored.data["exact"][stored.data["exact"] == Exact.CANNOT] = Exact.UNDECIDED
    assert only(orthant(stored, SOFTPLUS)).verdict == NOT_CONTRADICTED


def points(side: Side, holds: list[int], trials: int, bound: list[float]) -> Points:
    s = np.array(holds)
    none = np.zeros_like(s)
    widths = np.arange(1, len(s) + 1)
    return Points(side, ("",) * len(s), widths, widths.astype(float), Counts(s, trials - s, none), np.array(bound))


def test_limits_and_p_values_give_the_same_verdicts() -> None:
    """A point is contradicted exactly where its own limit passes the bound, and supported where the other has not."""
    for side in (Side.AT_MOST, Side.AT_LEAST):
        found = judge(points(side, [0, 3, 10, 30, 90, 97, 100], 100, [0.05, 0.2, 0.1, 0.1, 0.95, 0.5, 0.999]))
        above, below = found.lower > found.bound, found.upper < found.bound
        against, support = (above, found.upper <= found.bound) if side is Side.AT_MOST else (
            below, found.lower >= found.bound,
        )  # fmt: skip
        for verdict, bad, good in zip(found.verdicts, against, support, strict=True):
            assert verdict == ("contradicted" if bad else "supported" if good else "undecided")


def test_points_that_say_nothing_take_no_share() -> None:
    loose = judge(points(Side.AT_MOST, [3, 3], 10, [1.0, 0.9]))
    assert loose.tests == 1
    assert loose.verdicts[0] == "vacuous"
    assert (
        judge(points(Side.AT_MOST, [3], 10, [1.0])).p_against != judge(points(Side.AT_MOST, [3], 10, [0.9])).p_against
    )


def test_points_beyond_the_trials_are_counted() -> None:
    # without an event in 100 trials at level 0.05/2 a bound is supported from 1 - 0.025^(1/100) = 0.0362 on
    found = judge(points(Side.AT_MOST, [0, 0], 100, [0.036, 0.037]))
    assert found.beyond == 1
    assert [v.value for v in found.verdicts] == ["undecided", "supported"]


def test_the_page_holds_its_level_by_holm() -> None:
    base = only(chernoff_like(0.02))
    many = adjudicate([base, *[replace(base, p_against=0.9, p_support=0.9)] * 9], 0.95)
    assert base.verdict == "contradicted"
    # 0.02 alone refutes at 0.05; as the smallest of ten it is 0.2
    assert many[0].p_against == pytest.approx(0.2)
    assert many[0].verdict == "undecided"
    violated = replace(base, verdict="violated", p_against=np.nan, p_support=np.nan)
    assert adjudicate([violated, *many], 0.95)[0].verdict == "violated"


def chernoff_like(p: float) -> list[Finding]:
    return [Finding("chernoff", ("hidden",), "none", 0, 10, 10, "contradicted", p_against=p, p_support=1.0)]


SMALL = {
    "experiment": {"name": "small", "seed": 5, "trials": 300},
    "problem": {"n": 2, "m": 1, "operator": "orthonormal", "resample": "cell"},
    "network": {"mode": ["hidden", "both"], "activation": "sigmoid"},
    "widths": {"values": [4, 64, 1024, 16384]},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run of the suite, from file to results."""
    folder = tmp_path_factory.mktemp("small")
    execute.run(Experiment.from_dict(SMALL), folder, backend="inline")
    return load(folder)


def test_a_run_contradicts_nothing(small: Results) -> None:
    found = run_findings(study_run(small)).findings
    names = {one.name for one in found}
    assert {"chernoff", "concentration", "initial-error", "theory-trial", "half-width", "paper-trial"} <= names
    assert not [one for one in found if one.verdict in ("contradicted", "violated")]


def test_p_theory_of_another_width_is_contradicted(small: Results) -> None:
    curve = study_run(small).cells[0].curves["hidden", "trial"]
    assert theory_finding(curve, 0.05, "clopper-pearson").verdict in ("supported", "undecided")
    theory = curve.theory
    assert theory is not None
    # the promise of the largest width at every width: `trial` holds for nearly no draw of 4 neurons
    wrong = curve.against(replace(theory, p=np.full(4, theory.p[-1])))
    assert theory_finding(wrong, 0.05, "clopper-pearson").verdict == "contradicted"


def test_the_heuristic_is_that_of_the_theory_and_no_value_of_it_is_a_violation(small: Results) -> None:
    # theory §7.4: 88 for sigmoid, r = 10, |A^+ y|^2 = 10
    assert round(heuristic_width(10.0, 10.0, 0.0, 1.0)) == 89
    found = only(half_width(small.cells[0], SMALL))
    assert found.verdict == HEURISTIC
    assert np.isnan(found.p_against)
    assert not list(half_width(small.cells[0], {"network": {"activation": "softplus"}}))


def crossing(rng: np.random.Generator, half: float, n: int = 10) -> CellResults:
    """Zero loss from a width near `half` on, psi/sigma_A between 1 and 2."""
    widths = [10, 20, 40, 80, 160, 320]
    k = half * np.exp(rng.normal(0.0, 0.1, (300, 1)))
    data = {
        "exact": np.where(np.array(widths) >= k, Exact.REACHES_ZERO, Exact.CANNOT).astype(np.int8),
        "psi_0": np.repeat(np.linspace(1.0, 2.0, 300)[:, None], len(widths), axis=1),
        "sigma_A": np.ones(300),
    }
    return cell(data, widths, n, 5, ("hidden",))


def test_the_smallest_constant_is_that_of_the_worst_cell(rng: np.random.Generator) -> None:
    cells = [crossing(rng, 30.0), replace(crossing(rng, 100.0), index=1)]
    found = constants(cells, "hidden", "zero loss", 500)
    # k = C' n psi^2/sigma_A^2 with psi/sigma_A = 2: 40 and 160 are the first widths that all draws pass
    assert [one.interval for one in found] == [(20 / 40.0, 40 / 40.0), (80 / 40.0, 160 / 40.0)]
    ((whole, own),) = list(published(cells, {"network": {"d": 500}}))
    assert own == found
    assert (whole.lower, whole.upper, whole.verdict) == (2.0, 4.0, "supported")
    assert found[0].p == pytest.approx(1 - 1 / 10 - 1 / 500)


def test_a_constant_is_open_where_the_grid_ends_and_none_where_nothing_is_promised(rng: np.random.Generator) -> None:
    wide = constant(crossing(rng, 1e4), "hidden", "zero loss", 500, 0.95)
    assert wide is not None
    assert wide.interval == (320 / 40.0, np.inf)
    assert constant(crossing(rng, 30.0, n=1), "hidden", "zero loss", 500, 0.95) is None
    ((vacuous, _),) = list(published([crossing(rng, 30.0, n=1)], {}))
    assert vacuous.verdict == "vacuous"


def test_both_layers_are_open_where_nothing_is_proved(small: Results) -> None:
    found = zero_loss(small.cells[0], "both")
    assert found is not None
    assert np.all(found == Decision.HOLDS)  # sigmoid: conserved at every width (theory §7.5)
    data = {name: small.cells[0][name] for name in ("margin_sharp", "psi_0", "computed")}
    sharp = zero_loss(replace(small.cells[0], data=data), "both")
    assert sharp is not None
    assert set(np.unique(sharp)) <= {Decision.HOLDS, Decision.UNDECIDED}


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "experiments" / "claims").glob("*.toml")), ids=str)
def test_the_experiments_on_claims_are_valid(path: Path) -> None:
    from mc.experiment.experiment import load_file

    load_file(path)
