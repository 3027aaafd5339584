"""Experiments: defaults, grids, seed addresses, identities, the frozen copy, objects of the user's own."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mc.errors import InputError
from mc.experiment.experiment import Cell, Experiment, Suite, block_size, load_file
from mc.experiment.schema import KEYS
from mc.experiment.studies import INDEX
from mc.model import activations, losses
from mc.model.activations import Activation
from mc.model.draws import OUTPUT_LAWS, OutputLaw, draw_problem, get_law
from mc.model.problem import OPERATORS, SIGNALS
from mc.store.plan import differences
from mc.theory.claims import CLAIMS
from mc.theory.codes import LADDER, MODES
from mc.version import NUMERICS_VERSION, SCHEMA_VERSION

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

BASE: dict[str, Any] = {
    "experiment": {"name": "base", "seed": 1, "trials": 40},
    "problem": {"n": 6, "m": 3, "operator": "gaussian"},
    "network": {"mode": "hidden"},
    "widths": {"values": [10, 20]},
}


def built(**tables: dict[str, Any]) -> Experiment:
    """The base with some tables updated."""
    data = copy.deepcopy(BASE)
    for name, changes in tables.items():
        data.setdefault(name, {}).update(changes)
    return Experiment.from_dict(data)


def only(experiment: Experiment) -> Cell:
    (cell,) = experiment.cells()
    return cell


# Files of the repository


FILES = sorted(path for path in EXPERIMENTS.rglob("*.toml") if path.name != INDEX)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_experiment_of_the_repository_is_valid_and_listed(path: Path) -> None:
    loaded = load_file(path)
    assert loaded.name
    assert f"]({path.relative_to(EXPERIMENTS).as_posix()})" in (EXPERIMENTS / "README.md").read_text()


def test_quickstart() -> None:
    experiment = Experiment.from_toml(EXPERIMENTS / "quickstart.toml")
    assert (experiment.name, experiment.seed, experiment.trials, experiment.modes) == (
        *("quickstart", 1, 400),
        ("hidden", "both"),
    )
    cell = only(experiment)
    wanted = {"n": 10, "m": 5, "operator": "orthonormal", "signal": "gaussian", "noise": 0.0, "resample": "cell"}
    assert cell.problem == {**wanted, "rank_tol": 10 * np.finfo(float).eps}
    assert len(experiment.widths) == 31  # 5 decades of 6, and the end
    assert {10, 100, 1000, 10_000, 100_000, 1_000_000} <= set(experiment.widths)
    assert experiment.flow_widths == (10, 100, 1000, 10_000)
    assert experiment.ladder == LADDER
    assert experiment.document.flow is not None
    assert (
        experiment.document.flow.rule,
        experiment.document.flow.save.trials,
        experiment.document.flow.save.times,
    ) == ("restart", 16, 64)


def test_the_reference_names_every_key_with_its_default() -> None:
    text = (EXPERIMENTS / "README.md").read_text()
    sections = re.split(r"^### `\[(\w+)\]`$|^`\[(flow\.save)\]`", text, flags=re.MULTILINE)
    tables: dict[str, dict[str, str]] = {}
    for first, second, body in zip(sections[1::3], sections[2::3], sections[3::3], strict=True):
        rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", body, flags=re.MULTILINE)
        tables[first or second] = dict(rows)
    assert {name: list(keys) for name, keys in tables.items()} == {name: list(keys) for name, keys in KEYS.items()}
    frozen = tomllib.loads(
        built(flow={"widths": [10], "rule": "gd", "save": {}}).to_toml()
    )  # everything that has a default has it here
    frozen["sampling"] = tomllib.loads(_adaptive().to_toml())["sampling"]
    rare = built(rare={"margin": "lambda_min", "widths": [10]}).to_toml()
    frozen["rare"] = tomllib.loads(rare)["rare"]
    checked = 0
    for name, keys in tables.items():
        at = frozen["flow"]["save"] if name == "flow.save" else frozen.get(name, {})
        for key, default in keys.items():
            if stated := re.fullmatch(r"`([^`]+)`(?: with `gd`)?", default):
                value = "restart" if key == "rule" else at[key]
                value = "saved" if value == ["saved"] else value
                assert str(value).lower() == stated[1] or float(value) == float(stated[1]), key
                checked += 1
    assert checked >= 20


def _adaptive() -> Experiment:
    data = copy.deepcopy(BASE)
    del data["experiment"]["trials"]
    return Experiment.from_dict({**data, "sampling": {"target_half_width": 0.1}})


# Names are those of the registries


def test_literals_agree_with_the_registries() -> None:
    for name in activations.NAMES:
        assert built(network={"activation": name}).document.network.activation == name
    for law in OUTPUT_LAWS:
        assert built(network={"output_law": law}).document.network.output_law == law
    for kind in losses.NAMES:
        table = {"kind": kind, "p": 3} if kind == "power" else {"kind": kind}
        loss = built(loss=table).document.loss
        assert losses.get(loss.kind, loss.p).kind == kind
    for claim in CLAIMS:
        assert built(claims={"check": [claim]}).document.claims.check == (claim,)
    words = KEYS["problem"]["operator"], KEYS["problem"]["signal"]
    assert words == ("one of " + ", ".join(OPERATORS), "one of " + ", ".join(SIGNALS))
    for signal in SIGNALS[:3]:
        extra = {"sparse": {"sparsity": 2}, "piecewise": {"pieces": 2}}.get(signal, {})
        assert only(built(problem={"signal": signal, **extra})).problem["signal"] == signal


# Widths and blocks


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 12))
def test_spaced_widths(start: int, more: int, per_decade: int) -> None:
    stop = start + more
    table = {"from": start, "to": stop, "per_decade": per_decade}
    widths = Experiment.from_dict({**BASE, "widths": table}).widths
    assert widths[0] == start
    assert widths[-1] == stop
    assert all(a < b for a, b in itertools.pairwise(widths))
    decades = [10**i for i in range(10) if start <= 10**i <= stop]
    assert set(decades) <= set(widths)
    for width in set(widths) - {start, stop}:
        # the nearest point of the exact grid, rounded
        power = round(per_decade * np.log10(width)) / per_decade
        assert abs(width - 10**power) <= 0.5 * (1 + 1e-9)
    further = Experiment.from_dict({**BASE, "widths": {**table, "to": 10 * stop}}).widths
    assert set(widths) <= {*further, stop}


def test_block_size_at_known_points() -> None:
    sizes = {(10, 5, 10**6): 8, (10, 5, 1000): 128, (10, 5, 10**7): 1, (60, 10, 4000): 64, (1, 1, 1): 128}
    assert {point: block_size(*point) for point in sizes} == sizes
    assert block_size(10_000, 10_000, 10**9) == 1


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 10**9))
def test_block_size_is_a_power_of_two_that_falls_with_the_cost(n: int, m: int, width: int) -> None:
    size = block_size(n, m, width)
    assert size in {1, 2, 4, 8, 16, 32, 64, 128}
    assert block_size(n + 1, m, width) <= size
    assert block_size(n, m + 1, width) <= size
    assert block_size(n, m, 2 * width) in {size, size // 2, 1}


def test_blocks_cover_the_trials_and_survive_in_the_frozen_copy() -> None:
    experiment = built(experiment={"trials": 129})
    assert (experiment.block_size, experiment.n_blocks) == (128, 2)
    wider = experiment.with_block_size(50)
    assert (wider.block_size, wider.n_blocks) == (50, 3)
    again = Experiment.from_text(wider.to_toml())
    assert (again.block_size, again) == (50, wider)
    assert again.identity(only(again)) == experiment.identity(only(experiment))


def test_the_block_size_is_that_of_the_largest_cell_and_width() -> None:
    experiment = built(problem={"n": [6, 60], "m": 3}, widths={"values": [10, 10**6]})
    assert experiment.block_size == block_size(60, 3, 10**6)


def test_a_file_of_a_million_million_trials_is_legal_and_costs_nothing() -> None:
    experiment = built(experiment={"trials": 10**12})
    assert experiment.n_blocks == 10**12 // 128
    assert len(experiment.to_toml()) < 2000


def test_sampling_chooses_the_trials() -> None:
    experiment = _adaptive()
    assert experiment.trials is None
    assert experiment.document.sampling is not None
    assert experiment.n_blocks == -(-experiment.document.sampling.max_trials // experiment.block_size)


# Grids and seed addresses


def test_the_last_listed_key_varies_fastest() -> None:
    experiment = built(problem={"noise": [0.0, 0.1], "n": [6, 8], "m": [2, 3]})
    points = [(cell.problem["n"], cell.problem["m"], cell.problem["noise"]) for cell in experiment.cells()]
    assert points == list(itertools.product([6, 8], [2, 3], [0.0, 0.1]))
    assert [cell.index for cell in experiment.cells()] == list(range(8))


def test_a_key_is_an_axis_only_for_the_operator_that_uses_it() -> None:
    table = {"operator": ["gaussian", "spectrum", "blur"], "condition": [1, 10], "blur_width": 2, "n": 6, "m": 6}
    cells = built(problem=table).cells()
    assert [(cell.problem["operator"], cell.problem.get("condition")) for cell in cells] == [
        *(("gaussian", None), ("spectrum", 1.0), ("spectrum", 10.0), ("blur", None))
    ]
    assert all(("blur_width" in cell.problem) == (cell.problem["operator"] == "blur") for cell in cells)


def test_the_address_is_the_digest_of_the_canonical_json() -> None:
    cell = only(built())
    canonical = (
        '{"output_law":"uniform","problem":{"m":3,"n":6,"noise":0.0,"operator":"gaussian",'
        '"rank_tol":1.3322676295501878e-15,"resample":"trial","signal":"gaussian"}}'
    )
    assert cell.canonical == canonical
    digest = hashlib.sha256(canonical.encode()).digest()
    assert cell.id == (int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big"))
    assert cell.key == digest[:8].hex() == f"{cell.id[0]:08x}{cell.id[1]:08x}"
    assert cell.attributes == json.loads(canonical)["problem"]


def test_ids_do_not_change_when_a_grid_grows_or_other_tables_change() -> None:
    cell = only(built())
    grown = built(problem={"n": [4, 6], "m": [3, 4], "noise": [0.5, 0]}, widths={"values": [5, 10, 20, 40]})
    assert cell.key in {other.key for other in grown.cells()}
    others = [
        built(experiment={"seed": 2, "trials": 7, "name": "other"}),
        built(network={"mode": "both", "activation": "tanh", "d": 3}, loss={"kind": "logcosh"}),
        built(flow={"widths": [10]}, estimate={"level": 0.9}),
    ]
    assert {only(other).key for other in others} == {cell.key}
    assert only(built(network={"output_law": "rademacher"})).key != cell.key


@pytest.mark.parametrize(
    "spelling", [{"noise": 0}, {"noise": -0.0}, {"noise": [0.0]}, {"rank_tol": 6 * 2.0**-52}, {"rank_tol": "auto"}]
)
def test_spellings_of_one_problem_share_the_address(spelling: dict[str, Any]) -> None:
    assert only(built(problem=spelling)).key == only(built()).key


@pytest.mark.parametrize(
    ("table", "sizes"),
    [
        ({"operator": "mask", "keep": 0.5, "n": 7, "m": None}, (7, 4)),  # round(3.5)
        ({"operator": "mask", "keep": 0.01, "n": 7, "m": None}, (7, 1)),
        ({"operator": "mask", "keep": 0.5, "n": 6, "m": 3}, (6, 3)),
        ({"operator": "blur", "blur_width": 1, "n": 7, "m": None}, (7, 7)),
        ({"operator": "identity", "n": 7, "m": 7}, (7, 7)),
        ({"operator": "orthonormal", "n": 3, "m": 7}, (3, 7)),
        ({"operator": "spectrum", "condition": 10, "n": 7, "m": 3}, (7, 3)),
    ],
)
def test_sizes_follow_from_the_operator_as_they_are_drawn(table: dict[str, Any], sizes: tuple[int, int]) -> None:
    data = {**BASE, "problem": {key: value for key, value in table.items() if value is not None}}
    cell = only(Experiment.from_dict(data))
    assert (cell.problem["n"], cell.problem["m"]) == sizes
    assert draw_problem(cell.problem, 1, cell.id, 0).A.shape == sizes[::-1]


# Identity


def test_the_identity_is_the_digest_of_its_fields() -> None:
    experiment = built(flow={"widths": [10]})
    fields = experiment.identity_fields(only(experiment))
    assert fields["seed"] == 1
    assert fields["network"] == {"mode": ["hidden"], "activation": "sigmoid", "output_law": "uniform", "d": 500}
    assert (fields["schema_version"], fields["numerics_version"]) == (SCHEMA_VERSION, NUMERICS_VERSION)
    assert "widths" not in fields["flow"]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert experiment.identity(only(experiment)) == hashlib.sha256(text.encode()).hexdigest()


FLOW = {"flow": {"widths": [10]}}


def differing_names(*fields: Any) -> list[str]:
    return [line.partition(" is ")[0] for line in differences(*fields)]


@pytest.mark.parametrize(
    ("tables", "differing"),
    [
        ({"experiment": {"name": "other", "trials": 9}}, []),
        ({"widths": {"values": [10, 30]}, "estimate": {"level": 0.9}, "claims": {"check": ["rate"]}}, []),
        ({"widths": {"values": [10, 30]}, "flow": {"widths": [10, 30]}}, []),
        ({"certificates": {"ladder": ["sharp"]}}, []),
        ({"experiment": {"seed": 2}}, ["seed"]),
        ({"problem": {"noise": 0.1}}, ["problem.noise"]),
        ({"problem": {"n": 7}}, ["problem.n", "problem.rank_tol"]),
        ({"network": {"activation": "tanh", "d": 3}}, ["network.activation", "network.d"]),
        ({"network": {"mode": ["both", "hidden"]}}, ["network.mode"]),
        ({"network": {"output_law": "rademacher"}}, ["network.output_law"]),
        ({"loss": {"kind": "power", "p": 3}}, ["loss.kind", "loss.p"]),
        ({"flow": {"rtol": 1e-6}}, ["flow.rtol"]),
        ({"flow": {"save": {"trials": 3}}}, ["flow.save.trials"]),
        ({"flow": {"save": {"signal": True}}}, ["flow.save.signal"]),
        ({"flow": {"rule": "gd"}}, ["flow.gamma", "flow.rule"]),
    ],
)
def test_what_differs_is_named_and_changes_the_identity(tables: dict[str, Any], differing: list[str]) -> None:
    here = built(**FLOW)
    there = built(**{**tables, "flow": {**FLOW["flow"], **tables.get("flow", {})}})
    fields = here.identity_fields(only(here)), there.identity_fields(only(there))
    assert differing_names(*fields) == differing_names(*reversed(fields)) == differing
    assert (here.identity(only(here)) == there.identity(only(there))) == (not differing)


def test_a_missing_table_is_a_difference() -> None:
    with_flow, without = built(**FLOW), built()
    names = differing_names(with_flow.identity_fields(only(with_flow)), without.identity_fields(only(without)))
    assert {name.partition(".")[0] for name in names} == {"flow"}


def test_modes_and_ladder_have_one_order() -> None:
    experiment = built(network={"mode": ["both", "hidden"]}, certificates={"ladder": ["exact", "paper"]})
    assert (experiment.modes, experiment.ladder) == (MODES, ("paper", "exact"))
    assert built(network={"mode": "hidden"}).ladder == ("paper", "trial", "sharp", "exact")
    assert built(network={"mode": "both"}).ladder == ("paper", "trial", "sharp", "conserved")


# The frozen copy


def listed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3, unique=True)


POSITIVE = st.floats(1e-12, 1e12)
SIDES = st.integers(2, 40)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from(OPERATORS[:-1]))
    table: dict[str, Any] = {"operator": operator, "n": draw(listed(SIDES))}
    if operator in ("gaussian", "orthonormal", "spectrum"):
        table["m"] = draw(listed(SIDES))
    own = {"spectrum": ("condition", 1.0, 1e9), "mask": ("keep", 1e-3, 1.0), "blur": ("blur_width", 1e-3, 1e3)}
    if operator in own:
        key, low, high = own[operator]
        table[key] = draw(listed(st.floats(low, high)))
    table["signal"] = draw(listed(st.sampled_from(SIGNALS[:3])))
    table |= {"sparsity": 2} if "sparse" in table["signal"] else {}
    table |= {"pieces": draw(listed(st.integers(1, 2)))} if "piecewise" in table["signal"] else {}
    table |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                draw(st.sampled_from(["noise", "noise_norm"])): listed(st.floats(0, 1e3)),
                "resample": listed(st.sampled_from(["trial", "cell"])),
                "rank_tol": st.just("auto") | st.floats(1e-15, 0.5),
            },
        )
    )
    return table


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Valid experiments: every table and every key may be there."""
    widths = sorted(draw(st.sets(st.integers(1, 10**9), min_size=1, max_size=6)))
    tables: dict[str, Any] = {
        "experiment": {
            "name": draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")),
            "seed": draw(st.integers(0, 2**63 - 1)),
            "trials": draw(st.integers(1, 10**15)),
        },
        "problem": draw(problems()),
        "network": draw(
            st.fixed_dictionaries(
                {"mode": listed(st.sampled_from(MODES))},
                optional={
                    "activation": st.sampled_from(activations.NAMES),
                    "output_law": st.sampled_from(OUTPUT_LAWS),
                    "d": st.integers(1, 10**9),
                },
            )
        ),
        "widths": {"values": widths} if draw(st.booleans()) else {"from": 3, "to": 10**5, "per_decade": 4},
    }
    optional = {
        "loss": st.sampled_from(
            [{}, {"kind": "mse"}, {"kind": "logcosh"}, {"kind": "power", "p": 2}, {"kind": "power", "p": 3.5}]
        ),
        "certificates": st.fixed_dictionaries({"ladder": st.lists(st.sampled_from(LADDER), min_size=1, unique=True)}),
        "claims": st.fixed_dictionaries(
            {"check": st.just("all") | st.lists(st.sampled_from(list(CLAIMS)), min_size=1, unique=True)}
        ),
        "estimate": st.fixed_dictionaries({}, optional={"level": st.floats(0.6, 0.99), "simultaneous": st.booleans()}),
    }
    tables |= draw(st.fixed_dictionaries({}, optional=optional))
    if draw(st.booleans()):
        save = {"trials": st.integers(0, 99), "times": st.integers(2, 99) | st.just([1, 2.5])}
        flow: dict[str, st.SearchStrategy[Any]] = {
            **{"rtol": st.floats(1e-12, 0.1), "atol": POSITIVE, "loss_tolerance": POSITIVE, "horizon": POSITIVE},
            **{"max_steps": st.integers(1, 10**12), "method": st.sampled_from(["auto", "explicit"])},
            "save": st.fixed_dictionaries({}, optional=save),
        }
        rule = draw(st.sampled_from(["restart", "tolerance", "gd"]))
        gamma = {"gamma": st.just("auto") | POSITIVE} if rule == "gd" else {}
        chosen = [3] if "from" in tables["widths"] else widths[: draw(st.integers(1, len(widths)))]
        tables["flow"] = {"widths": chosen, "rule": rule, **draw(st.fixed_dictionaries({}, optional={**flow, **gamma}))}
    if draw(st.booleans()):
        del tables["experiment"]["trials"]
        goal = draw(st.sampled_from([{"decide": True}, {"target_half_width": 0.01}]))
        tables["sampling"] = {**goal, **draw(st.fixed_dictionaries({}, optional={"alpha": st.floats(1e-9, 0.4)}))}
    return tables


@settings(max_examples=60)
@given(documents())
def test_the_frozen_copy_is_the_same_experiment(tables: dict[str, Any]) -> None:
    experiment = Experiment.from_text(tomli_w.dumps(tables))
    text = experiment.to_toml()
    again = Experiment.from_text(text)
    assert again == experiment
    assert again.cells() == experiment.cells()
    assert [cell.problem for cell in again.cells()] == [cell.problem for cell in experiment.cells()]
    assert (again.block_size, again.n_blocks, again.ladder) == (
        *(experiment.block_size, experiment.n_blocks, experiment.ladder),
    )
    assert [again.identity(cell) for cell in again.cells()] == [experiment.identity(c) for c in experiment.cells()]
    assert again.to_toml() == text
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert pickle.loads(pickle.dumps(experiment)) == experiment  # noqa: S301, our own bytes
    assert len({cell.key for cell in experiment.cells()}) == len(experiment.cells())


def test_every_default_is_written_out() -> None:
    frozen = tomllib.loads(built(flow={"widths": [10]}).to_toml())
    assert frozen["experiment"]["block_size"] == 128
    assert frozen["problem"] == {
        **{"n": 6, "m": 3, "operator": "gaussian", "signal": "gaussian"},
        **{"noise": 0.0, "resample": "trial", "rank_tol": "auto"},
    }
    assert frozen["network"] == {"mode": "hidden", "activation": "sigmoid", "output_law": "uniform", "d": 500}
    assert frozen["loss"] == {"kind": "mse"}
    assert frozen["certificates"] == {"ladder": ["paper", "trial", "sharp", "exact"]}
    assert frozen["flow"] == {
        **{"widths": [10], "rule": "restart", "rtol": 1e-5, "atol": 1e-8, "loss_tolerance": 1e-7, "horizon": 1e6},
        **{"max_steps": 100_000, "method": "auto", "save": {"trials": 0, "times": 64}},
    }
    assert frozen["claims"] == {"check": ["saved"]}
    assert frozen["estimate"] == {"level": 0.95, "simultaneous": True}


def test_whole_numbers_become_floats_where_floats_are_meant() -> None:
    table = {"operator": "spectrum", "condition": 10, "noise": 1}
    problem = only(built(problem=table)).problem
    assert (type(problem["condition"]), type(problem["noise"])) == (float, float)


def test_an_experiment_does_not_change() -> None:
    experiment = built()
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.document = built().document  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        experiment.document.network.d = 3  # type: ignore[misc]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_bytes(b"\xef\xbb\xbf" + tomli_w.dumps(BASE).replace("\n", "\r\n").encode())
    assert Experiment.from_toml(path) == built()


# Files and objects


@pytest.fixture
def operator(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((4, 5))


def from_file(folder: Path, name: str, **problem: Any) -> Experiment:
    table = {"operator": "file", "path": name, **problem}
    (folder / "experiment.toml").write_text(tomli_w.dumps({**BASE, "problem": table}))
    return Experiment.from_toml(folder / "experiment.toml")


def test_an_operator_file(operator: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "A.npy", operator)
    np.savez(tmp_path / "A.npz", A=operator, other=np.eye(2))
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder" / "B.npz", operator)
    files = [from_file(tmp_path, name) for name in ("A.npy", "A.npz", "folder/B.npz")]
    cells = [only(experiment) for experiment in files]
    assert len({cell.id for cell in cells}) == 1  # the content counts, not where it lies
    assert len({experiment.identity(only(experiment)) for experiment in files}) == 1
    assert "path" not in cells[0].canonical
    assert cells[0].problem["path"] == str(tmp_path / "A.npy")
    assert (cells[0].problem["n"], cells[0].problem["m"]) == (5, 4)
    np.testing.assert_array_equal(draw_problem(cells[0].problem, 1, cells[0].id, 0).A, operator)
    first = only(from_file(tmp_path, "A.npy", m=2, n=5))
    np.testing.assert_array_equal(draw_problem(first.problem, 1, first.id, 0).A, operator[:2])
    np.save(tmp_path / "A.npy", operator + 1e-15)
    assert only(from_file(tmp_path, "A.npy")).id != cells[0].id
    np.save(tmp_path / "A.npy", np.asfortranarray(operator.astype(">f8")))
    assert only(from_file(tmp_path, "A.npy")).id == cells[0].id  # nor how it lies there


def test_a_frozen_copy_is_read_where_its_files_are_not(operator: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "A.npy", operator)
    np.save(tmp_path / "x.npy", np.arange(5))
    experiment = from_file(tmp_path, "A.npy", signal="file", signal_path="x.npy")
    assert Experiment.from_text(experiment.to_toml(), folder="/") == experiment
    for name in ("A.npy", "x.npy"):
        (tmp_path / name).unlink()
    again = Experiment.from_text(experiment.to_toml(), folder="/")
    assert again == experiment
    assert again.cells() == experiment.cells()


def test_two_files_make_two_cells(operator: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "A.npy", operator)
    np.save(tmp_path / "B.npy", operator[:, :3])
    experiment = from_file(tmp_path, ["A.npy", "B.npy"])  # type: ignore[arg-type]
    assert [(cell.problem["n"], cell.problem["m"]) for cell in experiment.cells()] == [(5, 4), (3, 4)]
    assert Experiment.from_text(experiment.to_toml()).cells() == experiment.cells()


def test_a_matrix_of_the_users_own(operator: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "A.npy", operator)
    own = Experiment.from_dict({**BASE, "problem": {"operator": operator, "m": 3}})
    file = from_file(tmp_path, "A.npy", m=3)
    assert only(own).canonical == only(file).canonical
    draws = [draw_problem(only(each).problem, 1, only(each).id, 0) for each in (own, file)]
    np.testing.assert_array_equal(draws[0].A, draws[1].A)
    np.testing.assert_array_equal(draws[0].xbar, draws[1].xbar)
    before = only(own).problem["operator"].copy()
    operator[:] = 0.0  # what the caller does afterwards changes nothing
    np.testing.assert_array_equal(only(own).problem["operator"], before)
    assert Experiment.from_dict(own.to_dict()) == own


class Cubic(Activation):
    """h/2 + tanh(h)^3/8: C^1 with a Lipschitz derivative."""

    name = "cubic"

    def __init__(self, scale: float = 0.125) -> None:
        self.scale = scale

    def phi(self, h: Any, out: Any = None) -> Any:
        return np.asarray(0.5 * h + self.scale * np.tanh(h) ** 3)

    def dphi(self, h: Any, out: Any = None) -> Any:
        return np.asarray(0.5 + 3 * self.scale * np.tanh(h) ** 2 / np.cosh(h) ** 2)


class Heavier(losses.MeanSquare):
    """The square, under another name."""

    kind = "heavier"


def triangular(rng: Any, out: np.ndarray) -> None:
    out[...] = np.sqrt(6.0) * (rng.random(out.shape) - rng.random(out.shape))


def test_objects_of_the_users_own() -> None:
    law = OutputLaw("triangular", 6**0.5, True, triangular)
    experiment = built(network={"activation": Cubic(), "output_law": law}, loss={"kind": Heavier()})
    fields = experiment.identity_fields(only(experiment))
    for value, name in (
        (fields["network"]["activation"], "cubic"),
        (fields["network"]["output_law"], "triangular"),
        (fields["loss"]["kind"], "heavier"),
    ):
        assert re.fullmatch(rf"object:{name}:[0-9a-f]{{64}}", value)
    assert isinstance(experiment.document.network.activation, Cubic)
    assert only(experiment).id != only(built()).id  # another law, other draws
    same = built(network={"activation": Cubic(), "output_law": law}, loss={"kind": Heavier()})
    assert experiment.identity(only(experiment)) == same.identity(only(same))
    other = built(network={"activation": Cubic(0.1), "output_law": law}, loss={"kind": Heavier()})
    assert differing_names(fields, other.identity_fields(only(other))) == ["network.activation"]


def test_objects_are_read_back_only_to_look_at(operator: np.ndarray) -> None:
    data = {**BASE, "problem": {"operator": operator}, "network": {"mode": "both", "activation": Cubic()}}
    experiment = Experiment.from_dict(data)
    text = experiment.to_toml()
    with pytest.raises(InputError, match=r"a file cannot hold; build the experiment in Python"):
        Experiment.from_text(text)
    seen = Experiment.from_text(text, reading=True)
    assert seen.cells() == experiment.cells()
    assert seen.identity(only(seen)) == experiment.identity(only(experiment))
    assert seen.to_toml() == text


def test_objects_of_the_registries_are_their_names() -> None:
    named = built(network={"activation": "tanh", "output_law": "rademacher"}, loss={"kind": "power", "p": 4})
    table = {"activation": activations.get("tanh"), "output_law": get_law("rademacher")}
    objects = built(network=table, loss={"kind": losses.get("power", 4)})
    assert objects == named


# Suites


def test_a_suite(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(tomli_w.dumps(BASE))
    other = {**BASE, "experiment": {**BASE["experiment"], "name": "two"}}
    (tmp_path / "two.toml").write_text(tomli_w.dumps(other))
    path = tmp_path / "paper.toml"
    path.write_text('[suite]\nexperiments = ["one.toml", "two.toml"]\n')
    suite = load_file(path)
    assert isinstance(suite, Suite)
    assert (suite.name, [experiment.name for experiment in suite.experiments]) == ("paper", ["base", "two"])
    path.write_text('[experiment]\nname = "all"\n\n[suite]\nexperiments = ["one.toml"]\n')
    assert Suite.from_toml(path).name == "all"
    assert load_file(tmp_path / "one.toml") == built()
