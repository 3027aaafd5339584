"""Users' mistakes in experiment files: each is refused in one line that names the file, the key and what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from mc.errors import InputError
from mc.experiment.experiment import Experiment, Suite, load_file
from mc.experiment.schema import KEYS
from mc.model.activations import Activation
from mc.model.activations.monotone import Tanh
from mc.model.losses import MeanSquare

BASE: dict[str, Any] = {
    "experiment": {"name": "bad", "seed": 1, "trials": 4},
    "problem": {"n": 6, "m": 3, "operator": "gaussian"},
    "network": {"mode": "hidden"},
    "widths": {"values": [10, 20]},
}
DROP = object()
ADAPTIVE = {"experiment.trials": DROP}
SPACED = {"widths.values": DROP, "widths.from": 10, "widths.to": 1000, "widths.per_decade": 3}


def document(changes: dict[str, Any]) -> dict[str, Any]:
    """The valid base with dotted keys changed, added or dropped."""
    tables = copy.deepcopy(BASE)
    for dotted, value in changes.items():
        *path, key = dotted.split(".")
        table = tables
        for name in path:
            table = table.setdefault(name, {})
        if value is DROP:
            table.pop(key, None)
        else:
            table[key] = value
    return tables


def refusal(changes: dict[str, Any]) -> str:
    """The message for the base with changes, after a pass through TOML text where that can hold them."""
    tables = document(changes)
    try:
        text = tomli_w.dumps(tables)
    except TypeError:  # arrays and other objects have no TOML
        with pytest.raises(InputError) as caught:
            Experiment.from_dict(tables, "experiment.toml")
    else:
        with pytest.raises(InputError) as caught:
            Experiment.from_text(text)
    return str(caught.value)


def at(key: str, *values: Any, fix: str, **others: Any) -> list[tuple[dict[str, Any], str, str]]:
    """Cases: `key` with each of the values, beside other changes."""
    return [({**others.get("beside", {}), key: value}, key, fix) for value in values]


class WrongSlope(Activation):
    name = "wrong"

    def phi(self, h: Any, out: Any = None) -> Any:
        return np.tanh(h)

    def dphi(self, h: Any, out: Any = None) -> Any:
        return np.tanh(h)


class Nameless(Tanh):
    name = "two words"


class NotFinite(MeanSquare):
    kind = "logarithm"

    def value(self, e: Any) -> Any:
        return np.full(np.shape(e)[:-1], np.inf)


NAN, INF = float("nan"), float("inf")
GD = {"flow.widths": [10], "flow.rule": "gd"}
FLOW = {"flow.widths": [10]}
RARE = {"rare.margin": "lambda_min", "rare.widths": [10], "problem.resample": "cell"}
HALF = {**ADAPTIVE, "sampling.target_half_width": 0.1}

CASES = [
    # [experiment]
    *at("experiment.name", 3, "", "a/b", "../up", "two words", "x" * 101, True, DROP, fix="letters, digits"),
    *at("experiment.seed", -1, 1.0, "1", True, 2**63, DROP, NAN, [1], fix="a whole number from 0"),
    *at("experiment.trials", "400", 0, -1, 400.0, True, 10**16, INF, [400], fix="a whole number from 1 to 10^15"),
    *at("experiment.trials", DROP, fix="add [sampling]"),
    *at("experiment.block_size", 0, "8", 1.5, fix="drop it"),
    *at("experiment.sed", 1, fix="did you mean 'seed'?"),
    # [problem]
    *at("problem.n", 0, -5, 10.0, "10", True, NAN, 10**7, [6, 0], [6, "7"], [6, 6.5], fix="use a whole number from 1"),
    *at("problem.n", [], fix="list at least one"),
    *at("problem.n", [6, 6], fix="list it once"),
    *at("problem.n", DROP, fix="write n ="),
    *at("problem.m", 0, 3.0, "3", True, 10**7, fix="use a whole number from 1"),
    *at("problem.m", DROP, fix="write m ="),
    *at("problem.m", [], fix="list at least one"),
    *at("problem.m", 5, beside={"problem.operator": "blur", "problem.blur_width": 1.0}, fix="write m = 6"),
    *at("problem.m", 5, beside={"problem.operator": "identity"}, fix="write m = 6"),
    *at("problem.m", 5, beside={"problem.operator": "mask", "problem.keep": 0.5}, fix="write m = 3"),
    *at("problem.operator", "gausian", "radon", 3, True, fix="use one of gaussian, orthonormal"),
    *at("problem.operator", "gausian", fix="did you mean 'gaussian'?"),
    *at("problem.operator", DROP, fix="write operator = one of gaussian"),
    *at("problem.operator", [], fix="list at least one"),
    *at("problem.operator", ["gaussian", "gaussian"], fix="list it once"),
    *at("problem.operator", np.full((3, 6), NAN), np.diag([1.0, INF]), fix="use finite numbers only"),
    *at("problem.operator", np.ones((3, 6), complex), np.ones((2, 3, 6)), np.ones((0, 6)), fix="use a real array"),
    *at("problem.operator", np.array([["a"]]), np.array([[None]]), fix="use a real array"),
    *at("problem.operator", np.zeros((3, 6)), fix="use an operator that observes something"),
    *at("problem.operator", "object:array-3x6:" + "0" * 64, fix="build the experiment in Python"),
    *at("problem.n", 7, beside={"problem.operator": np.eye(6)}, fix="write n = 6"),
    *at("problem.m", 7, beside={"problem.operator": np.eye(6)}, fix="use at most 6"),
    *at("problem.m", 1, beside={"problem.operator": np.diag([0.0, 1, 1, 1, 1, 1])}, fix="use more rows"),
    *at(
        "problem.condition", 0.5, "10", True, NAN, INF, beside={"problem.operator": "spectrum"}, fix="use a number >= 1"
    ),
    *at("problem.condition", DROP, beside={"problem.operator": "spectrum"}, fix="write condition = a number"),
    *at("problem.condition", 10.0, fix="write operator = 'spectrum'"),
    *at("problem.keep", 0, 1.5, -0.5, "half", NAN, beside={"problem.operator": "mask"}, fix="use a number above 0"),
    *at("problem.keep", DROP, beside={"problem.operator": "mask"}, fix="write keep = a number"),
    *at("problem.keep", 0.5, fix="write operator = 'mask'"),
    *at("problem.blur_width", 0, -1.0, INF, "wide", beside={"problem.operator": "blur"}, fix="use a number above 0"),
    *at("problem.blur_width", DROP, beside={"problem.operator": "blur"}, fix="write blur_width = a number"),
    *at("problem.blur_width", 2.0, fix="write operator = 'blur'"),
    *at("problem.path", "A.npy", fix="write operator = 'file'"),
    *at("problem.path", DROP, 3, "", beside={"problem.operator": "file"}, fix=".npy or .npz"),
    *at("problem.path", "none.npy", beside={"problem.operator": "file"}, fix="none.npy: no such file"),
    *at("problem.path", "bad\0name.npy", beside={"problem.operator": "file"}, fix="bad\\x00name.npy: "),
    *at("problem.signal", "sparce", 3, "", fix="use one of gaussian, sparse"),
    *at("problem.sparsity", 0, 7, 1.0, "2", beside={"problem.signal": "sparse"}, fix="use a whole number from 1 to n"),
    *at("problem.sparsity", DROP, beside={"problem.signal": "sparse"}, fix="write sparsity = a whole number"),
    *at("problem.sparsity", 2, fix="write signal = 'sparse'"),
    *at("problem.pieces", 0, 7, True, beside={"problem.signal": "piecewise"}, fix="use a whole number from 1 to n"),
    *at("problem.pieces", DROP, beside={"problem.signal": "piecewise"}, fix="write pieces = a whole number"),
    *at("problem.pieces", 2, fix="write signal = 'piecewise'"),
    *at("problem.signal_path", DROP, beside={"problem.signal": "file"}, fix="write signal_path = the path"),
    *at("problem.signal_path", "x.npy", fix="write signal = 'file'"),
    *at("problem.noise", -0.1, "0", NAN, INF, True, fix="use a number >= 0"),
    *at("problem.noise", [], fix="list at least one"),
    *at("problem.noise_norm", -1, "1", NAN, fix="use a number >= 0"),
    *at("problem.noise_norm", 1.0, beside={"problem.noise": 0.1}, fix="give one of noise and noise_norm"),
    *at("problem.resample", "never", True, fix="use one of trial, cell"),
    *at("problem.rank_tol", 0, 1, -1e-3, "small", NAN, True, fix="or 'auto'"),
    *at("problem.files", 3, fix="drop it"),
    *at("problem.nosie", 0.1, fix="did you mean 'noise'?"),
    *at("problem.kernel", 0.1, fix="use one of n, m"),
    # [network]
    *at("network.mode", "all", 1, ["hidden", "bot"], True, fix="use 'hidden', 'both'"),
    *at("network.mode", "hiden", fix="did you mean 'hidden'?"),
    *at("network.mode", DROP, fix="write mode = 'hidden'"),
    *at("network.mode", [], fix="list at least one"),
    *at("network.mode", ["both", "both"], fix="list it once"),
    *at("network.activation", "relu", "ReLU", "hard-tanh", fix="Lipschitz derivative"),
    *at("network.activation", "sigmoide", 3, True, ["tanh"], fix="use one of sigmoid"),
    *at("network.activation", "sigmoide", fix="did you mean 'sigmoid'?"),
    *at("network.activation", object(), fix="in Python an object of type Activation"),
    *at("network.activation", "object:mine:" + "0" * 64, fix="build the experiment in Python"),
    *at("network.output_law", "normal", 1, [1], fix="use one of uniform, rademacher"),
    *at("network.output_law", object(), fix="use one of uniform, rademacher"),
    *at("network.d", 0, 500.0, "500", True, fix="use a whole number from 1"),
    *at("network.activation", WrongSlope(), fix="mend the object"),
    *at("network.activation", Nameless(), fix="cannot name an activation"),
    # [loss]
    *at("loss.kind", object(), fix="in Python an object of type Loss"),
    *at("loss.kind", NotFinite(), fix="use a function that is"),
    *at("loss.kind", "l2", 2, ["mse"], fix="use one of mse, power, logcosh"),
    *at("loss.p", 1.5, "4", NAN, INF, 101, True, beside={"loss.kind": "power"}, fix="use a number from 2 to 100"),
    *at("loss.p", DROP, beside={"loss.kind": "power"}, fix="write p = a number"),
    *at("loss.p", 2.0, fix="write kind = 'power'"),
    # [widths]
    *at("widths.values", [20, 10], [10, 10], fix="sort them"),
    *at("widths.values", [0], [-1, 5], [10.0], ["10"], [True], [2 * 10**9], 10, "10", fix="an increasing list"),
    *at("widths.values", [], fix="list at least one"),
    *at("widths.values", DROP, fix="write values = "),
    *at("widths.values", list(range(1, 10_002)), fix="an increasing list"),
    *at("widths.from", 10, fix="drop from"),
    *at("widths.from", DROP, beside=SPACED, fix="write from = a whole number"),
    *at("widths.from", 0, 10.0, "10", beside=SPACED, fix="use a whole number from 1"),
    *at("widths.to", 9, 2 * 10**9, beside=SPACED, fix="not below from"),
    *at("widths.to", DROP, beside=SPACED, fix="write to = a whole number"),
    *at("widths.per_decade", 0, 1.5, 1001, beside=SPACED, fix="use a whole number from 1 to 1000"),
    *at("widths.per_decade", DROP, beside=SPACED, fix="write per_decade = a whole number"),
    # [certificates]
    *at("certificates.ladder", ["sharpe"], "sharp", [1], fix="among paper, trial"),
    *at("certificates.ladder", [], fix="a list of names"),
    *at("certificates.ladder", ["sharp", "sharp"], fix="list it once"),
    # [flow]
    *at("flow.widths", [15], fix="nearest 10"),
    *at("flow.widths", [20, 10], fix="sort them"),
    *at("flow.widths", [], [10.0], 10, fix="an increasing list of widths"),
    *at("flow.widths", DROP, beside={"flow.rule": "restart"}, fix="write widths ="),
    *at("flow.rule", "until-done", 1, beside=FLOW, fix="use one of restart, tolerance, gd"),
    *at("flow.rtol", 0, 0.5, "1e-5", NAN, beside=FLOW, fix="use a number above 0"),
    *at("flow.atol", 0, -1e-8, INF, beside=FLOW, fix="use a number above 0"),
    *at("flow.loss_tolerance", 0, NAN, True, beside=FLOW, fix="use a number above 0"),
    *at("flow.horizon", 0, INF, 10**400, "long", beside=FLOW, fix="use a number above 0"),
    *at("flow.max_steps", 0, 25e3, "25000", beside=FLOW, fix="use a whole number from 1"),
    *at("flow.method", "rk4", 4, beside=FLOW, fix="use one of auto"),
    *at("flow.gamma", 0.1, "auto", beside=FLOW, fix="write rule = 'gd'"),
    *at("flow.gamma", 0, -1.0, NAN, "big", beside=GD, fix="use a number above 0"),
    *at("flow.gamma_scale", 0, -1.0, NAN, "big", beside=GD, fix="use a number above 0"),
    *at("flow.gamma_scale", 0.1, beside=FLOW, fix="drop it or write these"),
    *at("flow.save", 16, [1], beside=FLOW, fix="[flow.save]"),
    *at("flow.save", {"trials": 10**5, "times": 10**4}, beside=FLOW, fix="use fewer"),
    *at("flow.save.trials", -1, 16.0, "16", beside=FLOW, fix="use a whole number from 0"),
    *at("flow.save.times", 1, 64.0, "64", [], [0.0, 1.0], [1.0, NAN], [True], beside=FLOW, fix="an increasing list"),
    *at("flow.save.times", [2.0, 1.0], beside=FLOW, fix="is not increasing"),
    *at("flow.save.signal", "true", 1, beside=FLOW, fix="use true or false"),
    *at("flow.save", {"trials": 10**5, "times": 100, "signal": True}, beside=FLOW, fix="entries exceed"),
    *at("flow.save.time", 3, beside=FLOW, fix="did you mean 'times'?"),
    # [rare]
    *at("rare.margin", "sharpness", 3, DROP, beside=RARE, fix="one of lambda_min"),
    *at("rare.widths", [15], beside=RARE, fix="nearest 10"),
    *at("rare.widths", [20, 10], beside=RARE, fix="sort them"),
    *at("rare.widths", [], 10, DROP, beside=RARE, fix="widths"),
    *at("rare.mode", "hidden", beside=RARE, fix="drop it"),
    *at("rare.threshold", 0, -1.0, NAN, "low", beside=RARE, fix="a number above 0"),
    *at("rare.particles", 10, 400.0, "400", beside=RARE, fix="a whole number from 50"),
    *at("rare.repetitions", 0, 1.5, beside=RARE, fix="a whole number from 1"),
    *at("rare.per_block", 0, 129, beside=RARE, fix="a whole number from 1 to 128"),
    *at("rare.survival", 0.0, 1.0, NAN, beside=RARE, fix="a number from 0.05"),
    *at("rare.moves", 1, 8.0, beside=RARE, fix="a whole number from 4"),
    *at("rare.max_levels", 1, "all", beside=RARE, fix="a whole number from 2"),
    *at("rare.tilted", -1, 10**8, beside=RARE, fix="a whole number from 0"),
    # [claims]
    *at("claims.check", 3, "rate", fix="`dipmc claims`"),
    *at("claims.check", ["zero loss"], [3], fix="use one of saved, all, paper-trial"),
    *at("claims.check", [], fix="'all' or a list"),
    *at("claims.check", ["all", "rate"], fix="'all' stands alone"),
    *at("claims.check", ["rate", "rate"], fix="list it once"),
    # [sampling]
    *at("experiment.trials", 4, beside={"sampling.decide": True}, fix="drop trials"),
    *at("sampling.target_half_width", 0, 0.5, "0.1", NAN, beside=ADAPTIVE, fix="use a number strictly between"),
    *at("sampling.target_half_width", 0.1, beside={**ADAPTIVE, "sampling.decide": True}, fix="give exactly one"),
    *at("sampling.target_half_width", DROP, beside={**ADAPTIVE, "sampling.alpha": 0.1}, fix="give exactly one"),
    *at("sampling.decide", 1, "true", beside=ADAPTIVE, fix="use true or false"),
    *at("sampling.min_trials", 0, 10.0, beside=HALF, fix="use a whole number from 1"),
    *at("sampling.max_trials", 0, 1e6, beside=HALF, fix="use a whole number from 1"),
    *at("sampling.max_trials", 50, beside=HALF, fix="use at least that"),
    *at("sampling.alpha", 0, 0.5, "0.05", NAN, beside=HALF, fix="use a number strictly between"),
    # [estimate]
    *at("estimate.level", 1, 0.5, 95, "0.95", NAN, fix="use a number strictly between 0.5 and 1"),
    *at("estimate.simultaneous", 1, "yes", fix="use true or false"),
    # whole tables
    *[({name: DROP}, name, "add the table") for name in ("experiment", "problem", "network", "widths")],
    *[({name: 3}, name, f"write [{name}]") for name in KEYS if "." not in name and name != "suite"],
    ({"netwrok": {"mode": "both"}}, "netwrok", "did you mean 'network'?"),
    ({"seed": 3}, "seed", "put it under [experiment]"),
    ({"suite": {"experiments": ["a.toml"]}}, "suite", "give one of the files"),
]


@pytest.mark.parametrize(("changes", "key", "fix"), CASES, ids=[f"{i}-{case[1]}" for i, case in enumerate(CASES)])
def test_a_mistake_is_told_in_one_line_with_its_key_and_the_fix(changes: dict[str, Any], key: str, fix: str) -> None:
    message = refusal(changes)
    table, _, name = key.rpartition(".")
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert message.startswith("experiment.toml: "), message
    if table:
        assert f"[{table}] {name}: " in message or f"[{key}]" in message, message
    else:
        assert f"[{name}]" in message or f" {name}: " in message, message
    assert fix in message, message


def test_the_base_is_valid() -> None:
    assert Experiment.from_dict(BASE).trials == 4  # otherwise any of the refusals above could come from it


def test_every_key_has_a_refusal() -> None:
    covered = {key for _, key, _ in CASES}
    expected = {f"{table}.{key}" for table, keys in KEYS.items() for key in keys if table != "suite"}
    assert expected <= covered


# The file itself


def written(folder: Path, content: bytes) -> Path:
    path = folder / "experiment.toml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[experiment\nname = 1", "line 1, column 12"),
        (b'[experiment]\nname = "a', "line 2, column 10"),
        (b"[experiment]\nname =", "line 2, column 7"),
        (b"[experiment]\nseed = 1\nseed = 2", "line 3, column 9"),
        (b"[experiment]\nseed = 01\n", "line 2"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8 text"),
        (b'[experiment]\nname = "\xe9"\n', "line 2 is not UTF-8 text"),
        (b"\x00\x01\x02", "not valid TOML"),
        (b"x = " + b"[" * 5000, "not valid TOML"),
        (b"x = " + b"9" * 5000, "use shorter numbers"),
        (b"", "[experiment] is missing"),
        (b"# nothing\n" * 1_000_001, "larger than"),
    ],
)
@pytest.mark.parametrize("read", [Experiment.from_toml, load_file, Suite.from_toml])
def test_a_file_that_is_no_experiment_file(
    content: bytes, says: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert says in message or (not content and read == Suite.from_toml and "[suite] is missing" in message)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml: no such file; give the path"):
        Experiment.from_toml(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="is a directory; give the experiment file in it"):
        Experiment.from_toml(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        Experiment.from_toml("nul\0.toml")


def test_line_breaks_in_values_stay_in_one_line() -> None:
    message = refusal({"network.activation": "a\nb\x1b[2J"})
    assert message.isprintable()
    assert r"'a\nb\x1b[2J'" in message


# Files the experiment names


def with_file(
    folder: Path, name: str, write: Callable[[Path], object], key: str = "path", **changes: Any
) -> dict[str, Any]:
    path = folder / name
    write(path)
    kind = "operator" if key == "path" else "signal"
    named = {f"problem.{key}": name, f"problem.{kind}": "file"}
    dropped = {"problem.n": DROP, "problem.m": DROP} if key == "path" else {}
    return document({**dropped, **named, **{f"problem.{k}": v for k, v in changes.items()}})


def message_in(folder: Path, tables: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        Experiment.from_toml(written(folder, tomli_w.dumps(tables).encode()))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def saved(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=True)


def cut(path: Path) -> None:
    np.savez(path, A=np.eye(3))
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("A.npy", saved(np.array([[1.0, NAN]])), "NaN or infinity"),
        ("A.npy", saved(np.array([[1.0, -INF]])), "NaN or infinity"),
        ("A.npy", saved(np.array([[1.0, {}]], dtype=object)), "without pickles"),
        ("A.npy", saved(np.eye(3) * 1j), "complex128"),
        ("A.npy", saved(np.array([["1.0"]])), "save a real array"),
        ("A.npy", saved(np.ones(3)), "2 axes"),
        ("A.npy", saved(np.ones((2, 2, 2))), "2 axes"),
        ("A.npy", saved(np.ones((0, 3))), "not empty"),
        ("A.npy", saved(np.zeros((2, 3))), "zero everywhere"),
        ("A.npy", saved(np.ones((1, 10_001))), "sides from 1 to 10000"),
        ("A.npy", lambda path: path.write_text("1 2\n3 4\n"), "not a readable"),
        ("A.npy", lambda path: path.write_bytes(b""), "not a readable"),
        ("A.npz", lambda path: np.savez(path, B=np.eye(2), C=np.eye(2)), "one named A"),
        ("A.npz", cut, "save it anew"),
        ("A.npz", lambda path: path.mkdir(), "not a readable"),
    ],
)
def test_a_bad_operator_file(name: str, write: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    message = message_in(tmp_path, with_file(tmp_path, name, write))
    assert "[problem] path: " in message
    assert name in message
    assert says in message


def test_sizes_that_do_not_fit_the_operator_file(tmp_path: Path) -> None:
    write = saved(np.eye(3, 5))
    assert "m: 4 exceeds the 3 rows" in message_in(tmp_path, with_file(tmp_path, "A.npy", write, m=4))
    assert "n: 4 does not fit the 5 columns" in message_in(tmp_path, with_file(tmp_path, "A.npy", write, n=4))


def test_a_bad_signal_file(tmp_path: Path) -> None:
    short = with_file(tmp_path, "x.npy", saved(np.ones(5)), "signal_path")
    assert "has shape (5,); use a signal of n = 6 entries" in message_in(tmp_path, short)
    matrix = with_file(tmp_path, "x.npy", saved(np.ones((6, 1))), "signal_path")
    assert "[problem] signal_path: " in message_in(tmp_path, matrix)


def test_a_file_that_changed_since_the_copy_was_frozen(tmp_path: Path) -> None:
    tables = with_file(tmp_path, "A.npy", saved(np.eye(3)))
    frozen = Experiment.from_dict(tables, folder=tmp_path).to_toml()
    np.save(tmp_path / "A.npy", 2 * np.eye(3))
    with pytest.raises(InputError, match=r"A\.npy has changed since the run began; restore it"):
        Experiment.from_text(frozen)


# Grids and suites


def test_a_grid_with_too_many_cells() -> None:
    # 2000 * 60 = 120 000 > 100 000
    changes = {"problem.noise": [0.001 * i for i in range(2000)], "problem.rank_tol": [1e-9 * i for i in range(1, 61)]}
    assert "[problem] noise: the grid has 120000 cells; use lists that make at most 100000" in refusal(changes)


def test_one_bad_point_of_a_grid_is_refused() -> None:
    message = refusal({"problem.signal": "sparse", "problem.sparsity": 4, "problem.n": [6, 3]})
    assert "[problem] sparsity: 4 exceeds n = 3" in message


@pytest.mark.parametrize(
    ("suite", "says"),
    [
        ("[suite]\nexperiments = []", "[suite] experiments: [] has too few entries"),
        ("[suite]\nexperiments = ['a.toml', 'a.toml']", "[suite] experiments: 'a.toml' is listed twice"),
        ("[suite]\nexperiments = ['a.toml', 'b.toml']", "[suite] experiments: two of them are named 'bad'"),
        ("[suite]\nexperiments = 'a.toml'", "[suite] experiments: 'a.toml' is not a list"),
        ("[suite]\nexperiments = [3]", "[suite] experiments: 3 is not text"),
        ("[suite]\nexperiments = ['none.toml']", "none.toml: no such file"),
        ("[suite]\nexperiments = ['suite.toml']", "suite.toml: [suite] a suite is not one experiment"),
        ("[suite]\nexperiments = ['wrong.toml']", "wrong.toml: [network] mode: 'all' is unknown"),
        ("[suite]\nexperiment = ['a.toml']", "[suite] experiment: unknown key; did you mean 'experiments'?"),
        ("[suite]\nexperiments = ['a.toml']\n[experiment]\nseed = 3", "[experiment] seed: unknown key"),
        ("[suite]\nexperiments = ['a.toml']\n[problem]\nn = 3", "[problem] is not a table of"),
    ],
)
def test_a_bad_suite(suite: str, says: str, tmp_path: Path) -> None:
    for name, tables in {"a": BASE, "b": BASE, "wrong": document({"network.mode": "all"})}.items():
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(tables))
    path = tmp_path / "suite.toml"
    path.write_text(suite)
    with pytest.raises(InputError) as caught:
        load_file(path)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
