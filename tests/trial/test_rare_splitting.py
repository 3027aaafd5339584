"""Splitting is unbiased and its intervals hold known truths; tilting agrees with it and with closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import block_task
from rare_cases import ClosedForm, closed_forms, estimates, sign_sum, uniform_sum
from scipy import stats
from scipy.special import chdtr

from mc.estimate.rare.probability import disagreement, log_interval
from mc.model import activations
from mc.model.draws import What, generator, get_law
from mc.trial.block import compute_block
from mc.trial.rare import repetitions, tilting
from mc.trial.rare.margins import ActivationNorm, LambdaMin, SummedPopulation
from mc.trial.rare.settings import RareSettings
from mc.trial.rare.splitting import Ensemble, pilot, repeat
from mc.trial.rare.tilting import TiltedLaw

SPEC = {"n": 3, "m": 2, "operator": "orthonormal", "signal": "gaussian", "noise": 0.0, "resample": "cell"}
NAMES = [form.name for form in closed_forms(1e-3)]


def settings_of(margin: str = "lambda_min", **changes: object) -> RareSettings:
    values = {
        "margin": margin, "mode": "hidden", "threshold": 0.5, "particles": 80, "repetitions": 6, "per_block": 6,
        "survival": 0.25, "moves": 12, "max_levels": 60, "tilted": 0, "widths": (20,),
    }  # fmt: skip
    return RareSettings(**{**values, **changes})


def arrays(settings: RareSettings, widths: tuple[int, ...] = (20,), law: str = "uniform") -> dict:
    rare = replace(settings, widths=widths)
    task = block_task(seed=1, cell=(0, 0), problem=SPEC, output_law=law, n_trials=8, widths=widths, rare=rare)
    return {name: array for name, array in compute_block(task).items() if name.startswith("rare_")}


def test_the_closed_forms_are_the_laws_they_name() -> None:
    assert uniform_sum(1, 0.5) == 0.75
    assert uniform_sum(2, 0.0) == 0.5
    assert sign_sum(10, -6.0) == pytest.approx(stats.binom.cdf(2, 10, 0.5), rel=1e-14)
    rng = generator(1, (0, 0), 0, What.RARE)
    for form in closed_forms(0.05):
        fails, _ = form.ensemble.draw([rng], 20_000).failures()
        assert abs(fails.mean() - form.truth) < 4.0 * np.sqrt(form.truth * (1.0 - form.truth) / 20_000)


@pytest.mark.parametrize("moves", [1, 20])
@pytest.mark.parametrize("name", NAMES)
def test_the_mean_is_the_probability_however_few_the_moves(name: str, moves: int) -> None:
    form = next(form for form in closed_forms(1e-3) if form.name == name)
    found = estimates(form, 3, 300, 60, moves).probability
    # levels are constants to the repetitions: the mean has no bias, its standard error is that of 300 repetitions
    error = found.std(ddof=1) / np.sqrt(found.size)
    assert abs(found.mean() - form.truth) < 4.0 * error
    # and the test can fail: the standard error is below a fifth of the truth
    assert error < 0.2 * form.truth


@pytest.mark.parametrize("name", NAMES)
def test_intervals_hold_the_truth_at_1e_9(name: str) -> None:
    form = next(form for form in closed_forms(1e-9) if form.name == name)
    hits = 0
    for seed in range(20):
        lower, upper = log_interval(estimates(form, seed, 8, 60, 20).probability)
        hits += lower <= form.truth <= upper
        assert upper < 1e-6
    # of 20 intervals at 95 %, 15 or fewer hold the truth with probability 3e-3
    assert hits >= 16


def test_an_impossible_failure_is_not_reached() -> None:
    form = ClosedForm("beyond all signs", closed_forms(1e-3)[4].margin, "rademacher", 0.0)
    form.margin.threshold = -81.0
    schedule = pilot(form.ensemble, generator(0, (0, 0), 1, What.RARE), 60, 0.25, 8, 30)
    assert not schedule.reached
    assert len(schedule.levels) == 30
    found = repeat(form.ensemble, schedule, [generator(0, (0, 0), 2, What.RARE)], 60, 8)
    assert np.isnan(found.probability).all()
    assert found.levels == 30


def test_a_likely_failure_is_counted() -> None:
    found = arrays(settings_of(threshold=0.99))
    np.testing.assert_array_equal(found["rare_levels"][:6], 1)
    np.testing.assert_array_equal(found["rare_probability"][:6], found["rare_direct"][:6] / 80.0)
    assert np.isnan(found["rare_acceptance"]).all()
    assert (found["rare_direct"][6:] == -1).all()
    assert np.isnan(found["rare_probability"][6:]).all()


def test_repetitions_do_not_depend_on_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    # fewer directions: any net will do here, and a large one takes seconds
    monkeypatch.setattr(tilting, "DIRECTIONS", 32)
    settings = settings_of(tilted=50)
    whole = arrays(settings, (12, 20))
    alone = arrays(settings, (20,))
    monkeypatch.setattr(repetitions, "GROUP_BYTES", 1)
    one_by_one = arrays(settings, (20,))
    for name in whole:
        np.testing.assert_array_equal(whole[name][:, 1:], alone[name])
        np.testing.assert_array_equal(alone[name], one_by_one[name])


@pytest.mark.parametrize(
    ("repetitions", "per_block", "numbers"), [(6, 4, [4, 2, 0]), (3, 4, [3, 0, 0]), (50, 40, [8, 8, 8])]
)
def test_repetitions_are_shared_out_over_blocks(repetitions: int, per_block: int, numbers: list[int]) -> None:
    settings = settings_of(repetitions=repetitions, per_block=per_block)
    assert [len(settings.trials(range(first, first + 8))) for first in (0, 8, 16)] == numbers
    assert arrays(settings_of(repetitions=0)) == {}


@pytest.mark.parametrize("law", ["uniform", "rademacher", "gaussian"])
def test_splitting_and_tilting_agree(law: str) -> None:
    found = arrays(
        settings_of(threshold=0.4, particles=150, moves=24, repetitions=8, per_block=8, tilted=400), (60,), law
    )
    split, tilted = (found[f"rare_{name}"][:, 0] for name in ("probability", "tilted"))
    assert disagreement(split, tilted) < 4.0
    assert split.mean() < 0.02
    # the weights know their own spread: the variance over 8 repetitions is within a factor of chi-square limits
    spread = tilted.var(ddof=1) / tilted.mean() ** 2 / found["rare_tilted_variance"][:, 0].mean()
    assert spread < stats.chi2.ppf(1.0 - 1e-4, 7) / 7 * 1.5


@pytest.mark.parametrize("high", [False, True])
def test_tilted_norms_have_the_closed_form(high: bool) -> None:
    rng, k = generator(4, (0, 0), 0, What.RARE), 12
    if high:
        # |z|^2/k of tanh is at most 1: compare with splitting, no closed form there
        margin = ActivationNorm(activations.get("tanh"), k, 1.35, high=True)
        ensemble = Ensemble(get_law("uniform"), 1, k, True, lambda h, V: SummedPopulation(margin, h, V))
        schedule = pilot(ensemble, rng, 150, 0.25, 24, 60)
        truth = repeat(
            ensemble, schedule, [generator(4, (0, 0), i, What.RARE) for i in range(1, 41)], 150, 24
        ).probability
        weights = TiltedLaw.of(margin, get_law("uniform"), rng).weights(rng, 4000, 1)
        assert disagreement(truth, weights) < 4.0
        return
    margin = ActivationNorm(activations.get("identity"), k, 0.2, high=False)
    weights = TiltedLaw.of(margin, get_law("uniform"), rng).weights(rng, 4000, 1)
    truth_low = float(chdtr(k, k * 0.2**2))
    assert truth_low < 1e-6
    assert abs(weights.mean() - truth_low) < 4.0 * weights.std() / np.sqrt(4000)


def test_tilted_lambda_min_has_the_closed_form_of_a_wishart_matrix() -> None:
    """Identity activation, Gaussian V, n = 2: the smallest eigenvalue of a Wishart matrix W_2(k)."""
    k, c = 20, 0.15
    margin, law = LambdaMin(activations.get("identity"), 2, k, c), get_law("gaussian")
    rng = generator(6, (0, 0), 0, What.RARE)
    weights = TiltedLaw.of(margin, law, rng).weights(rng, 3000, 2)
    # P(lambda_min > x): the joint density of the eigenvalues is proportional to (ab)^((k-3)/2) (b - a) e^(-(a+b)/2)
    power = (k - 3) / 2

    def tail(x: float) -> float:
        a = np.linspace(x, 120.0, 3001)
        weight = a**power * np.exp(-a / 2)
        step = a[1] - a[0]
        # sum over pairs a < b of w(a) w(b) (b - a): cumulative sums from above
        above, first = np.cumsum(weight[::-1])[::-1], np.cumsum((weight * a)[::-1])[::-1]
        return float((weight * (first - a * above)).sum() * step**2)

    truth = 1.0 - tail(c * k) / tail(0.0)
    assert truth < 0.01
    assert abs(weights.mean() - truth) < 4.0 * weights.std() / np.sqrt(weights.size) + 1e-3 * truth
