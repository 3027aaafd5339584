"""Exported trials: the arrays alone give back, by dense linear algebra, what the run stored of the trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.draws import OutputLaw
from mc.runner.execute import run
from mc.store.results import CellResults, load
from mc.theory.codes import Exact
from mc.verify.export import export_trial

KEYS = {"A", "xbar", "eps", "y", "V0", "h0", "activation", "output_law", "loss", "p", "cell", "trial", "width"}
MODES = ("hidden", "both")
ENTRY_BOUND = {"uniform": np.sqrt(3.0), "rademacher": 1.0}
# phi, phi', sup |phi'|, Lip(phi') (theory §1)
ACTIVATIONS: dict[str, tuple[Any, Any, float, float]] = {
    "sigmoid": (
        lambda h: 1 / (1 + np.exp(-h)),
        lambda h: np.exp(-h) / (1 + np.exp(-h)) ** 2,
        0.25,
        1 / (6 * np.sqrt(3)),
    ),
    "tanh": (np.tanh, lambda h: 1 / np.cosh(h) ** 2, 1.0, 4 / (3 * np.sqrt(3))),
    "softplus": (lambda h: np.log1p(np.exp(h)), lambda h: 1 / (1 + np.exp(-h)), 1.0, 0.25),
}

CASES: dict[str, dict[str, dict[str, Any]]] = {
    "sigmoid": {
        "problem": {"n": 4, "m": 2, "operator": "gaussian", "noise": 0.1},
        "network": {"activation": "sigmoid"},
        "widths": {"values": [2, 4, 16, 64, 1024, 1025, 2500]},
    },
    "tanh": {
        "problem": {"n": [3, 5], "m": 3, "operator": "spectrum", "condition": 20.0, "resample": "cell", "noise": 0.3},
        "network": {"activation": "tanh", "output_law": "rademacher"},
        "loss": {"kind": "power", "p": 4.0},
        "widths": {"values": [4, 30, 300, 1500]},
    },
    "softplus": {
        "problem": {"n": 6, "operator": "mask", "keep": 0.5, "signal": "sparse", "sparsity": 2, "noise": 0.05},
        "network": {"activation": "softplus"},
        "loss": {"kind": "logcosh"},
        "widths": {"values": [3, 8, 200]},
    },
}


@dataclass(frozen=True)
class Case:
    """A run, and its trials as they were exported."""

    name: str
    folder: Path
    cells: tuple[CellResults, ...]
    npz: dict[tuple[int, int, int], dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    tables = {"experiment": {"name": "exported", "seed": 8, "trials": 5}, **CASES[request.param]}
    tables["network"] = {"mode": list(MODES), **tables["network"]}
    run(Experiment.from_dict(tables), folder)
    cells = load(folder).cells
    addresses = [
        (cell.index, trial, int(width)) for cell in cells for trial in range(cell.trials) for width in cell.widths
    ]
    found = {}
    for cell, trial, width in addresses:
        path = export_trial(folder, cell, trial, width, folder / "trial.npz")
        with np.load(path, allow_pickle=False) as arrays:
            found[cell, trial, width] = dict(arrays)
    return Case(request.param, folder, cells, found)


def nonzero(S: np.ndarray) -> np.ndarray:
    """Which singular values are not rounding."""
    return S / S[0] > 1e-12


def test_keys_shapes_and_labels(case: Case) -> None:
    settings = CASES[case.name]
    for (cell, trial, width), npz in case.npz.items():
        assert npz.keys() == KEYS
        n, m = (case.cells[cell].problem[side] for side in ("n", "m"))
        shapes = {"A": (m, n), "xbar": (n,), "eps": (m,), "y": (m,), "V0": (n, width), "h0": (width,)}
        assert {name: npz[name].shape for name in KEYS if npz[name].ndim} == shapes
        assert all(npz[name].dtype == np.float64 for name in shapes)
        assert (int(npz["cell"]), int(npz["trial"]), int(npz["width"])) == (cell, trial, width)
        assert str(npz["activation"]) == settings["network"]["activation"]
        assert str(npz["output_law"]) == settings["network"].get("output_law", "uniform")
        assert (str(npz["loss"]), float(npz["p"])) == tuple(
            {"kind": "mse", "p": 2.0, **settings.get("loss", {})}.values()
        )


def test_the_problem_is_the_one_that_was_stored(case: Case) -> None:
    noise = CASES[case.name]["problem"]["noise"]
    for (cell, trial, _), npz in case.npz.items():
        stored = case.cells[cell]
        A, xbar, eps, y = (npz[name] for name in ("A", "xbar", "eps", "y"))
        # sums of at most 6 terms of order 1
        np.testing.assert_allclose(y, A @ xbar + eps, rtol=0, atol=1e-14 * np.abs(y).max())
        assert np.linalg.norm(eps) == pytest.approx(noise * np.linalg.norm(A @ xbar), rel=1e-13)
        S = np.linalg.svd(A, compute_uv=False)
        S = S[nonzero(S)]
        facts = {"sigma_A": S[-1], "norm_A": S[0], "norm_y": np.linalg.norm(y), "norm_eps": np.linalg.norm(eps)}
        for name, value in facts.items():
            # an SVD is right to a few eps times its largest value; condition 20
            assert stored[name][trial] == pytest.approx(value, rel=1e-12), name
        assert stored["rank"][trial] == S.size


def test_trials_differ_where_they_should(case: Case) -> None:
    cell, width = 0, int(case.cells[0].widths[-1])
    first, second = (case.npz[cell, trial, width] for trial in (0, 1))
    shared = CASES[case.name]["problem"].get("resample") == "cell"
    for name in ("xbar", "eps", "y"):
        assert np.array_equal(first[name], second[name]) == shared, name
    for name in ("V0", "h0"):
        assert not np.array_equal(first[name], second[name])
    bound = ENTRY_BOUND[str(first["output_law"])]
    assert np.abs(first["V0"]).max() <= bound
    if str(first["output_law"]) == "rademacher":
        assert set(np.unique(first["V0"])) == {-1.0, 1.0}


def test_a_narrow_network_is_the_beginning_of_a_wide_one(case: Case) -> None:
    widths = [int(width) for width in case.cells[0].widths]
    wide = case.npz[0, 2, widths[-1]]
    for width in widths:
        npz = case.npz[0, 2, width]
        np.testing.assert_array_equal(npz["h0"], wide["h0"][:width])
        np.testing.assert_array_equal(npz["V0"], wide["V0"][:, :width])
    # also where the run has no such width
    path = export_trial(case.folder, 0, 2, widths[-1] - 1, case.folder / "between.npz")
    with np.load(path, allow_pickle=False) as between:
        np.testing.assert_array_equal(between["h0"], wide["h0"][:-1])


def initial_loss_psi(npz: dict[str, np.ndarray]) -> float:
    """psi(L_0), by the table of theory §2."""
    phi = ACTIVATIONS[str(npz["activation"])][0]
    k, p = npz["h0"].size, float(npz["p"])
    e = npz["A"] @ (npz["V0"] @ phi(npz["h0"])) / np.sqrt(k) - npz["y"]
    if str(npz["loss"]) == "logcosh":
        return float(np.arccosh(np.exp(np.sum(np.log(np.cosh(e))))))
    loss = np.linalg.norm(e) ** p / p
    return float((p * loss) ** (1 / p))


def jacobian(npz: dict[str, np.ndarray], mode: str) -> np.ndarray:
    """J at time 0, n rows; u is a unit vector, so the columns of one neuron's weights collapse to one."""
    phi, dphi, _, _ = ACTIVATIONS[str(npz["activation"])]
    V, h = npz["V0"], npz["h0"]
    hidden = V * dphi(h) / np.sqrt(h.size)
    if mode == "hidden":
        return hidden
    return np.hstack([np.kron(np.eye(V.shape[0]), phi(h)) / np.sqrt(h.size), hidden])


def lipschitz(npz: dict[str, np.ndarray], mode: str, rung: str, rho: float) -> float:
    """Lip_rho as theory §4 words it: the trial's, and the published one."""
    _, _, B1, B2 = ACTIVATIONS[str(npz["activation"])]
    n, k = npz["V0"].shape
    if rung == "paper":
        B, bound = max(B1, B2), ENTRY_BOUND[str(npz["output_law"])]
        return float(B * (bound if mode == "hidden" else 1 + 2 * (bound + rho)) * np.sqrt(n / k))
    c_max = np.linalg.norm(npz["V0"], axis=0).max()
    if mode == "hidden":
        return float(B2 * c_max / np.sqrt(k))
    b = B2 * (c_max + rho)
    # the norm of [[B1, 0], [b, B1]], without its closed form
    return float(np.linalg.norm(np.array([[B1, 0.0], [b, B1]]), 2) / np.sqrt(k))


@pytest.mark.parametrize("mode", MODES)
def test_certificates_by_dense_algebra_from_the_arrays_alone(case: Case, mode: str) -> None:
    compared = 0
    for (cell, trial, width), npz in case.npz.items():
        stored, at = case.cells[cell], list(case.cells[cell].widths).index(width)
        row = (stored.modes.index(mode), trial, at)
        J, psi_0 = jacobian(npz, mode), initial_loss_psi(npz)
        n = J.shape[0]
        singular = np.linalg.svd(J, compute_uv=False)
        sigma_0 = float(singular[n - 1]) if singular.size == n else 0.0
        # sums of k terms of order 1; the residual may be a tenth of its terms
        assert stored["psi_0"][trial, at] == pytest.approx(psi_0, rel=1e-12)
        # a stored singular value is never above the true one by more than a rounding
        assert stored["sigma_0"][row] <= sigma_0 * (1 + 1e-12) + 1e-15 * singular[0]
        if sigma_0 <= 1e-3 * singular[0]:
            continue
        compared += 1
        S = np.linalg.svd(npz["A"], compute_uv=False)
        radius = 2 * psi_0 / (S[nonzero(S)][-1] * sigma_0)
        expected = {"sigma_0": sigma_0, "radius_needed": radius}
        for rung in ("trial", "paper"):
            expected[f"margin_{rung}"] = sigma_0 / (2 * radius * lipschitz(npz, mode, rung, radius))
        # the stored sigma_0^2 is lower by the rounding of the Gram matrix, (n + 1024 + k/1024) 2^-53 of its trace; a
        # margin has sigma_0^3 in it at the most
        loosened = (n + 1024 + width / 1024) * 2.0**-53 * np.sum(singular**2) / sigma_0**2
        tolerance = 1e-12 + 1.5 * loosened
        assert tolerance < 1e-9 or sigma_0 < 0.05 * singular[0]
        for name, value in expected.items():
            assert stored[name][row] == pytest.approx(value, rel=tolerance), (name, cell, trial, width)
    assert compared >= len(case.npz) // 2


def test_a_hidden_layer_narrower_than_the_signal_has_no_radius(case: Case) -> None:
    cell = case.cells[-1]
    narrow = cell.widths < cell.problem["n"]
    assert narrow.any()
    row = cell.modes.index("hidden")
    assert (cell["sigma_0"][row][:, narrow] == 0).all()
    assert np.isinf(cell["radius_needed"][row][:, narrow]).all()
    assert (cell["margin_trial"][row][:, narrow] == 0).all()
    assert (cell["sigma_0"][cell.modes.index("both")][:, narrow] > 0).all()


BOX = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softplus": (0.0, None)}


def room(npz: dict[str, np.ndarray]) -> float:
    """Largest t with G z = sqrt k U^T y and z at distance t from the ends of the box; -inf without z (theory §7.4)."""
    U, S, _ = np.linalg.svd(npz["A"], full_matrices=False)
    U = U[:, nonzero(S)]
    k = npz["h0"].size
    G = U.T @ npz["A"] @ npz["V0"]
    low, high = BOX[str(npz["activation"])]
    sides = [(-np.eye(k), -low)] + ([] if high is None else [(np.eye(k), high)])
    found = linprog(
        np.append(np.zeros(k), -1.0),
        A_ub=np.vstack([np.column_stack([side, np.ones(k)]) for side, _ in sides]),
        b_ub=np.concatenate([np.full(k, end) for _, end in sides]),
        A_eq=np.column_stack([G, np.zeros(G.shape[0])]),
        b_eq=np.sqrt(k) * (U.T @ npz["y"]),
        bounds=[(None, None)] * k + [(None, 1.0)],
        method="highs",
    )
    if found.status == 2:
        return -np.inf
    assert found.status == 0, found.message
    return -float(found.fun)


def test_exact_is_what_a_linear_programme_says(case: Case) -> None:
    said = set()
    for (cell, trial, width), npz in case.npz.items():
        if width > 100:
            continue
        stored = case.cells[cell]["exact"][trial, list(case.cells[cell].widths).index(width)]
        t = room(npz)
        # HiGHS keeps constraints to 1e-7
        if abs(t) < 1e-6:
            continue
        assert stored == (Exact.REACHES_ZERO if t > 0 else Exact.CANNOT), (cell, trial, width, t)
        said.add(bool(t > 0))
    assert said == {True, False}


# addresses


def test_an_address_that_is_not_in_the_run(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "trial.npz"
    cells, widest = len(case.cells), int(case.cells[0].widths[-1])
    for cell, trial, width, said in (
        (cells, 0, 3, f"--cell {cells}: .* 0 to {cells - 1};"),
        (-1, 0, 3, "--cell -1: "),
        (0, 5, 3, "--trial 5: .* 0 to 4;"),
        (0, -1, 3, "--trial -1: "),
        (0, 0, 0, f"--width 0: .* 1 to {widest}"),
        (0, 0, widest + 1, f"--width {widest + 1}: "),
    ):
        with pytest.raises(InputError, match=said):
            export_trial(case.folder, cell, trial, width, out)
    with pytest.raises(InputError, match="is a folder"):
        export_trial(case.folder, 0, 0, 3, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_no_memory_holds_is_refused(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widest = int(case.cells[0].widths[-1])
    monkeypatch.setattr("mc.verify.export.LARGEST_BYTES", 8 * widest * (case.cells[0].problem["n"] + 1) - 1)
    with pytest.raises(InputError, match=r"GB, more than .* smaller width"):
        export_trial(case.folder, 0, 0, widest, tmp_path / "trial.npz")
    assert export_trial(case.folder, 0, 0, widest - 1, tmp_path / "trial.npz").is_file()


@pytest.mark.parametrize(
    ("table", "key", "own"),
    [
        ("problem", "operator", np.eye(3)[:2]),
        ("network", "output_law", OutputLaw("signs", 1.0, True, lambda rng, out: None)),
    ],
)
def test_an_object_that_the_run_folder_does_not_hold_is_named(
    tmp_path: Path, table: str, key: str, own: object
) -> None:
    tables: dict[str, dict[str, Any]] = {
        "experiment": {"name": "own", "seed": 1, "trials": 2},
        "problem": {"n": 3, "m": 2, "operator": "orthonormal"},
        "network": {"mode": "hidden"},
        "widths": {"values": [8]},
    }
    tables[table] = {**tables[table], key: own}
    (tmp_path / "experiment.toml").write_text(Experiment.from_dict(tables).to_toml(), encoding="utf-8")
    with pytest.raises(InputError, match=rf"\[{table}\] {key} is a Python object, which a run folder does not hold"):
        export_trial(tmp_path, 0, 0, 8, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
