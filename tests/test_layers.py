"""The rooms of mc import one way, no files import in a circle, and functions fit a screen."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room imports only from rooms above its row; the packages beside it are its own: no other room may import them.
ROOMS = {
    "model": "numpy.random",
    "theory": "",
    "flow": "scipy.optimize",
    "trial": "",
    "store": "h5py",
    "experiment": "pydantic",
    "estimate": "scipy.stats",
    "runner": "cloudpickle dask distributed joblib",
    "verify": "",
    "report": "jinja2 matplotlib seaborn",
    "cli": "click tqdm",
}
LOOSE = ("__init__", "__main__", "errors", "version")
FUNCTION_LINES = 60  # without its docstring


def sources() -> dict[str, str]:
    """Return the text of every module of mc and of benchmarks by its dotted name."""
    texts = {}
    for path in [*(ROOT / "mc").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        texts[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return texts


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, inside functions too, but not under TYPE_CHECKING."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        base = module.split(".")[: None if is_package else -1]
        above = base[: len(base) - tree.level + 1] if tree.level else []
        yield from (".".join([*above, *filter(None, [tree.module]), alias.name]) for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imports(child, module, is_package)


def longest_module(name: str, known: Mapping[str, str]) -> str:
    """Return the known module that a dotted name stands in; the package root where there is none."""
    parts = name.split(".")
    return next((m for i in range(len(parts), 0, -1) if (m := ".".join(parts[:i])) in known), parts[0])


def room(module: str) -> str:
    """Return the second part of a dotted name: a room, a loose module, or nothing for the root."""
    return f"{module}.".split(".")[1]


def problems(known: Mapping[str, str]) -> Iterator[str]:
    """Yield everything that is wrong with these modules (dotted name -> source)."""
    order = list(ROOMS)
    graph: dict[str, set[str]] = {}
    for module, source in known.items():
        tree, here = ast.parse(source), room(module)
        is_package = any(other.startswith(module + ".") for other in known)
        names = set(imports(tree, module, is_package))
        graph[module] = {longest_module(name, known) for name in names if name.split(".")[0] in ("mc", "benchmarks")}
        if not module.startswith("mc"):
            continue
        if module != "mc" and here not in (*ROOMS, *LOOSE):
            yield f"{module}: neither in a room nor one of {', '.join(LOOSE)}"
        for target in graph[module] - {"mc"} if here in ROOMS else ():
            if room(target) in ROOMS and order.index(room(target)) > order.index(here):
                yield f"{module}: imports {target}, a room above its own"
        if here in ROOMS and "mc" in graph[module]:
            yield f"{module}: imports the package root, or a module that does not exist"
        for owner, packages in ROOMS.items():
            for package in packages.split():
                if here != owner and any(f"{name}.".startswith(f"{package}.") for name in names):
                    yield f"{module}: imports {package}, which belongs to {owner}"
        yield from long_functions(module, tree)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"import cycle: {' <- '.join(error.args[1])}"


def long_functions(module: str, tree: ast.Module) -> Iterator[str]:
    """Yield every function that does not fit a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
            if (lines := (node.end_lineno or 0) - first) >= FUNCTION_LINES:
                yield f"{module}.{node.name}: {lines} lines, not below {FUNCTION_LINES}"


def test_mc_keeps_its_rooms() -> None:
    known = sources()
    assert {"mc", "mc.errors", "benchmarks.flow"} <= set(known)
    assert list(problems(known)) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("mc.model.losses", "from mc.theory.certificates import margins", "a room above its own"),
        ("mc.model.losses", "def f():\n    import mc.flow.attainable", "a room above its own"),
        ("mc.model.losses", "from ..flow import attainable", "a room above its own"),
        ("mc.trial.block", "from mc.report import page", "a room above its own"),
        ("mc.model.losses", "import mc", "imports the package root"),
        ("mc.model.losses", "from mc import __version__", "imports the package root"),
        ("mc.novelty", "", "neither in a room"),
        ("mc.flow.attainable", "from mc.flow import integrate", "import cycle"),
        ("benchmarks.flow", "from benchmarks.peers import x", "import cycle"),
        ("mc.theory.certificates", "from numpy.random import Generator", "imports numpy.random"),
        ("mc.model.losses", "from scipy import stats", "imports scipy.stats"),
        ("mc.trial.block", "from tqdm.auto import tqdm", "imports tqdm"),
        ("mc.model.losses", "def f():\n" + "    x = 1\n" * FUNCTION_LINES, "not below 60"),
    ],
)
def test_a_bad_module_is_reported(module: str, source: str, complaint: str) -> None:
    good = dict.fromkeys(["mc", "mc.model", "mc.model.losses", "mc.theory.certificates", "mc.flow", "mc.report"], "")
    good |= {
        "mc.flow.integrate": "from mc.flow.attainable import decide",
        "mc.flow.attainable": "",
        "mc.report.page": "",
    }
    good |= {"benchmarks.flow": "", "benchmarks.peers": "from benchmarks.flow import x"}
    assert list(problems(good)) == []
    assert any(complaint in problem for problem in problems({**good, module: source}))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "mc.theory.claims",
            "import typing\nif typing.TYPE_CHECKING:\n    from mc.trial import block",
        ),
        ("mc.estimate.counts", "from scipy import stats\nfrom mc.model.losses import get"),
        ("mc.cli.run", "import click\nfrom mc.model.losses import get"),
    ],
)
def test_a_good_module_passes(module: str, source: str) -> None:
    assert list(problems({"mc": "", "mc.model": "", "mc.model.losses": "", module: source})) == []
