"""Imports of mc point one way, each heavy dependency has its owners, and modules stay small.

The rules are the tables below; `problems` applies them to sources, so that the tests can feed it bad ones.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mc"

# Bottom to top; a component (the name after "mc.", packages whole) imports only from layers below its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "outcomes", "version"),
    ("signals", "slurm"),
    ("atomic", "layout", "provenance"),
    ("failures",),
    ("lipschitz", "losses"),
    ("activations",),
    ("network", "problem"),
    ("ensemble", "streaming"),
    ("bounds", "certificates"),
    ("flow",),
    ("guarantees",),
    ("follow",),
    ("trajectories",),
    ("rare",),
    ("block",),
    ("schema",),
    ("experiment",),
    ("citations", "records", "results"),
    ("assembly", "digests", "hdf5", "trace"),
    ("layout_doc", "pictures", "ranges", "requests", "results_group", "store"),
    ("virtual",),
    ("memory", "merge", "plan"),
    ("cost",),
    ("export", "jobs", "results_check"),
    ("pools",),
    ("dask_pool",),
    ("backends",),
    ("execute",),
    ("studies", "suites"),
    ("theory_table",),
    ("estimate",),
    ("observed",),
    ("replay", "sampling"),
    ("verify",),
    ("report",),
    ("cli_progress",),
    ("cli_run", "cli_slurm"),
    ("cli_*",),
    ("cli", "<root>"),
    ("__main__",),
)

# The two arms meet only in what stands between them: from these, by any path of imports, those are out of reach.
OUT_OF_REACH: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("block", "plan", "jobs", "pools", "dask_pool", "backends", "execute", "export"): ("estimate", "report"),
    ("estimate", "report"): ("block", "jobs", "pools", "backends", "execute"),
    ("schema", "experiment", "layout", "records", "results", "store", "merge"): (
        "block",
        "pools",
        "backends",
        "execute",
        "estimate",
        "report",
    ),
}

# A third-party package, and the modules (patterns) that alone may use it at run time.
OWNERS: Mapping[str, tuple[str, ...]] = {
    "click": ("mc.cli*",),
    "cloudpickle": ("mc.dask_pool",),
    "dask": ("mc.dask_pool",),
    "distributed": ("mc.dask_pool",),
    "h5py": ("mc.hdf5", "mc.store", "mc.results_group", "mc.virtual"),
    "hdf5plugin": ("mc.hdf5",),
    "jax": (),
    "jinja2": ("mc.report*",),
    "joblib": ("mc.backends", "mc.dask_pool", "mc.pools"),
    "matplotlib": ("mc.report*",),
    "numpy.random": ("mc.ensemble",),
    "pydantic": ("mc.experiment", "mc.schema*", "mc.studies"),
    "scipy.optimize": ("mc.flow.limit*",),
    "scipy.stats": ("mc.estimate*",),
    "seaborn": ("mc.report*",),
    "torch": (),
    "tqdm": ("mc.cli*",),
}

MODULE_LINES = 400
FUNCTION_LINES = 60  # its docstring aside


def sources() -> dict[str, str]:
    """The modules of mc by dotted name; a package is its __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


class Uses(ast.NodeVisitor):
    """The dotted names a module imports or reaches as attributes at run time: neither annotations nor TYPE_CHECKING."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.base = module.split(".") if is_package else module.split(".")[:-1]
        self.bound: dict[str, str] = {}  # local name -> dotted name it stands for
        self.imported: set[str] = set()
        self.used: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            body = node.orelse
        else:
            body = [node.test, *node.body, *node.orelse]
        for child in body:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imported.add(alias.name)
            top = alias.name.split(".")[0]
            self.bound[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self.base[: len(self.base) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            self.imported.add(f"{source}.{alias.name}")
            self.bound[alias.asname or alias.name] = f"{source}.{alias.name}"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        head, *rest = ast.unparse(node).split(".")
        if head in self.bound:
            self.used.add(".".join([self.bound[head], *rest]))
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """An argument holds nothing but its annotation."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for child in [*node.decorator_list, node.args, *node.body]:
            self.visit(child)

    visit_AsyncFunctionDef = visit_FunctionDef


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def component(module: str) -> str:
    return module.split(".")[1] if "." in module else "<root>"


def rank(module: str) -> int | None:
    name = component(module)
    return next((i for i, layer in enumerate(LAYERS) if any(fnmatch(name, pattern) for pattern in layer)), None)


def module_of(name: str, known: Mapping[str, str]) -> str:
    """The longest known module that the dotted name begins with (a name imported from mc itself gives "mc")."""
    parts = name.split(".")
    return next(m for i in range(len(parts), 0, -1) if (m := ".".join(parts[:i])) in known or i == 1)


def reach(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), set()) - seen:
            seen.add(target)
            todo.append(target)
    return seen


def import_problems(graph: Mapping[str, set[str]]) -> Iterator[str]:
    for module, targets in graph.items():
        if rank(module) is None:
            yield f"{module}: a new module: give it its place in LAYERS of tests/test_layers.py"
            continue
        for target in sorted(targets):
            below = rank(target)
            if target == "mc":
                yield f"{module}: imports the package root, or a module that is not there"
            elif below is not None and component(module) != component(target) and below >= rank(module):
                yield f"{module}: imports {target}, which is not in a layer below it"
        arms = [out for members, out in OUT_OF_REACH.items() if component(module) in members]
        for target in sorted(reach(module, graph)):
            if any(component(target) in out for out in arms):
                yield f"{module}: reaches {target} of the other arm"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"import cycle: {' <- '.join(error.args[1])}"


def size_problems(module: str, source: str, tree: ast.Module) -> Iterator[str]:
    if module.split(".")[-1] in ("utils", "util", "helpers", "misc", "common"):
        yield f"{module}: the name says nothing of what it owns"
    if (lines := source.count("\n")) > MODULE_LINES:
        yield f"{module}: {lines} lines, above {MODULE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if lines >= FUNCTION_LINES:
                yield f"{module}.{node.name}: {lines} lines, not below {FUNCTION_LINES}"


def problems(known: Mapping[str, str]) -> list[str]:
    """All that is wrong with these modules (dotted name -> source)."""
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module, source in known.items():
        tree = ast.parse(source)
        uses = Uses(module, is_package=any(within(other, module) for other in known if other != module))
        uses.visit(tree)
        graph[module] = {module_of(name, known) for name in uses.imported if within(name, "mc")}
        names = uses.imported | uses.used
        for package, owners in OWNERS.items():
            if any(within(name, package) for name in names) and not any(fnmatch(module, owner) for owner in owners):
                found.append(f"{module}: uses {package}, which belongs to {' and '.join(owners) or 'nobody'}")
        found += size_problems(module, source, tree)
    return found + list(import_problems(graph))


def test_mc_keeps_its_layers_owners_and_sizes() -> None:
    known = sources()
    assert {"mc", "mc.errors", "mc.outcomes"} <= set(known)  # the walk looks at the package
    found = problems(known)
    assert not found, "\n".join(found)


LONG = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("mc.losses", "from mc.certificates import margins", "not in a layer below"),
        ("mc.losses", "def f():\n    import mc.flow.limit", "not in a layer below"),
        ("mc.losses", "from .flow import limit", "not in a layer below"),
        ("mc.certificates", "from mc import bounds", "not in a layer below"),
        ("mc.estimate.counts", "from mc.cli import main", "not in a layer below"),
        ("mc.estimate.counts", "from mc.execute import run", "of the other arm"),
        ("mc.report.page", "import mc.block", "of the other arm"),
        ("mc.store", "from mc.block import BlockTask", "of the other arm"),
        ("mc.losses", "import mc", "imports the package root"),
        ("mc.losses", "from mc import __version__", "imports the package root"),
        ("mc.losses", "from . import __version__", "imports the package root"),
        ("mc.novelty", "", "a new module: give it its place in LAYERS"),
        ("mc.flow.limit", "from mc.flow import driver", "import cycle"),
        ("mc.losses", "import numpy as np\nrng = np.random.default_rng()", "uses numpy.random"),
        ("mc.losses", "from numpy import random", "uses numpy.random"),
        ("mc.losses", "from numpy.random import Generator as G", "uses numpy.random"),
        ("mc.losses", "import scipy\nx = scipy.stats.norm.cdf(0)", "uses scipy.stats"),
        ("mc.flow.driver", "from scipy import optimize", "uses scipy.optimize"),
        ("mc.ensemble", "import torch.nn", "belongs to nobody"),
        ("mc.block", "from tqdm.auto import tqdm", "uses tqdm"),
        ("mc.estimate.utils", "", "says nothing of what it owns"),
        ("mc.losses", "x = 1\n" * (MODULE_LINES + 1), "above 400"),
        ("mc.losses", LONG, "not below 60"),
    ],
)
def test_a_bad_module_is_found(module: str, source: str, complaint: str) -> None:
    good = dict.fromkeys(["mc", "mc.certificates", "mc.bounds", "mc.cli", "mc.execute", "mc.block", "mc.flow"], "")
    good |= {"mc.flow.limit": "", "mc.flow.driver": "from mc.flow.limit import decide\n", "mc.estimate": ""}
    assert problems(good) == []
    found = problems({**good, module: source})
    assert any(problem.startswith((module, "import cycle")) and complaint in problem for problem in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mc.guarantees", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mc.block import BlockTask"),
        ("mc.losses", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from numpy.random import Generator"),
        ("mc.losses", "import numpy as np\ndef f(rng: np.random.Generator) -> np.random.Generator: ..."),
        ("mc.losses", "import numpy as np\nclass A:\n    rng: np.random.Generator"),
        ("mc.guarantees", "from mc.losses import Loss\nfrom mc import losses"),
        ("mc.ensemble", "import numpy as np\nrng = np.random.default_rng()"),
        ("mc.cli_run", "import click\nfrom mc.block import compute_block\nfrom mc.estimate import counts"),
        ("mc.estimate.intervals", "from scipy import stats"),
        ("mc.losses", 'def f():\n    """' + "words\n" * FUNCTION_LINES + '"""\n'),
    ],
)
def test_a_good_module_passes(module: str, source: str) -> None:
    good = dict.fromkeys(["mc", "mc.losses", "mc.block", "mc.estimate", "mc.estimate.counts"], "")
    assert problems({**good, module: source}) == []
