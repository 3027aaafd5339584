"""An experiment: a TOML file, validated and frozen, with its cells, its blocks and the identity of its numbers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import ValidationError

from mc.errors import InputError
from mc.experiment.arrays import ArrayFacts, object_token
from mc.experiment.cells import Cell, block_size, canonical_json, resolve_cells
from mc.experiment.flow import check_saved
from mc.experiment.messages import Refusal, explain
from mc.experiment.problem import StoredArray
from mc.experiment.reading import absolute_paths, one_line, parse, plain_values, problem_files, read_text
from mc.experiment.schema import KEYS, Document, SuiteDocument
from mc.experiment.tables import plain
from mc.theory.claims import TRAJECTORY_CLAIMS
from mc.theory.codes import LADDER, ONE_MODE
from mc.version import NUMERICS_VERSION, SCHEMA_VERSION

__all__ = ["Cell", "Experiment", "Suite", "block_size", "load_file"]


@dataclass(frozen=True)
class Experiment:
    """A validated experiment file with every default filled in; two are equal when their tables are.

    Attributes
    ----------
    document : Document
        The tables as they stand in the frozen copy.
    """

    document: Document
    _cells: tuple[Cell, ...] = field(compare=False, repr=False)
    _tokens: Mapping[str, str] = field(compare=False, repr=False)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], *, reading: bool = False) -> Experiment:
        """Read an experiment file.

        Parameters
        ----------
        path : path-like
            The file; relative paths inside it are relative to its folder.
        reading : bool
            Only to look at a finished run: Python objects may stand in the file by their tokens, and the arrays of
            [problem] are taken from what the frozen copy keeps of them.

        Raises
        ------
        InputError
            One line with the file, the table, the key, the value and what to write instead.
        """
        return cls.from_text(read_text(path), str(path), Path(path).parent, reading=reading)

    @classmethod
    def from_text(
        cls, text: str, source: str = "experiment.toml", folder: str | os.PathLike[str] = ".", *, reading: bool = False
    ) -> Experiment:
        """Read an experiment from a TOML text; `source` names it in messages, relative paths start from `folder`."""
        return cls.from_dict(parse(text, source), source, folder, reading=reading)

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        source: str = "experiment",
        folder: str | os.PathLike[str] = ".",
        *,
        reading: bool = False,
    ) -> Experiment:
        """Read an experiment from nested dictionaries, as TOML gives them.

        An activation, a loss, an output law or an operator (a NumPy matrix) of the user's own may stand where its
        name would. See `from_toml` for `reading` and errors.
        """
        if "suite" in data:
            raise InputError(f"{source}: [suite] a suite is not one experiment; give one of the files that it lists")
        try:
            raw = absolute_paths(plain_values(data), folder)
            document = Document.model_validate(raw, context={"reading": reading})
            facts = dict(problem_files(document.problem, reading))
            document = _complete(document, facts)
            tokens = _tokens(document)
            cells = resolve_cells(document.problem, tokens["output_law"], facts)
            if document.flow is not None:
                check_saved(document.flow, max(cell.problem["n"] for cell in cells))
            if document.experiment.block_size is None:
                n, m = (max(cell.problem[side] for cell in cells) for side in ("n", "m"))
                size = block_size(n, m, document.widths.resolved()[-1])
                header = document.experiment.model_copy(update={"block_size": size})
                document = document.model_copy(update={"experiment": header})
            return cls(document, cells, tokens)
        except ValidationError as error:
            raise InputError(one_line(explain(error.errors(include_url=False), source, KEYS))) from None
        except Refusal as refusal:
            raise InputError(one_line(refusal.line(source))) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain dictionaries with every default; Python objects stay objects."""
        return self._tables(lambda choice: choice.array if isinstance(choice, ArrayFacts) else choice)

    def frozen_tables(self) -> dict[str, Any]:
        """Return the tables of the frozen copy: every default, Python objects as ``object:<name>:<digest>``."""
        tables = self._tables(str)
        tables["network"] |= {key: self._tokens[key] for key in ("activation", "output_law")}
        tables["loss"]["kind"] = self._tokens["loss"]
        return tables

    def to_toml(self) -> str:
        """Return the frozen copy of the experiment, a TOML text (see `frozen_tables`)."""
        return tomli_w.dumps(self.frozen_tables())

    def _tables(self, written: Callable[[Any], Any]) -> dict[str, Any]:
        """Return the tables as plain dictionaries, with `written(choice)` for each operator."""
        tables = plain(self.document)
        operators = [written(choice) for choice in self.document.problem.operator]
        tables["problem"]["operator"] = operators[0] if len(operators) == 1 else operators
        return tables

    @property
    def name(self) -> str:
        """The name: that of the folder of the run."""
        return self.document.experiment.name

    @property
    def seed(self) -> int:
        """The seed all draws start from."""
        return self.document.experiment.seed

    @property
    def trials(self) -> int | None:
        """The number of trials of a cell; None where [sampling] chooses it."""
        return self.document.experiment.trials

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes, ``hidden`` before ``both``."""
        return self.document.network.mode

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths, increasing."""
        return self.document.widths.resolved()

    @property
    def flow_widths(self) -> tuple[int, ...]:
        """The widths that are integrated, increasing; empty without [flow]."""
        flow = self.document.flow
        return () if flow is None else flow.widths

    @property
    def ladder(self) -> tuple[str, ...]:
        """The certificates, in the order of the ladder."""
        return tuple(name for name in LADDER if name in (self.document.certificates.ladder or ()))

    @property
    def followed(self) -> tuple[str, ...]:
        """The claims to check along every trajectory, sorted; none without [flow]."""
        names = self.document.claims.check
        named = TRAJECTORY_CLAIMS if "all" in names else tuple(name for name in names if name in TRAJECTORY_CLAIMS)
        return () if self.document.flow is None else tuple(sorted(named))

    @property
    def sampling_rule(self) -> str:
        """How the number of trials is chosen: "fixed", or "adaptive" with its rule."""
        sampling = self.document.sampling
        return "fixed" if sampling is None else f"adaptive: {sampling.sentence()}"

    @property
    def block_size(self) -> int:
        """Trials in a block: `block_size` of the largest n, m and width, or what the frozen copy says."""
        return self.document.experiment.block_size or 1

    @property
    def n_blocks(self) -> int:
        """Blocks of a cell, the last one computed whole; with [sampling] the most there may be."""
        sampling = self.document.sampling
        trials = self.trials if sampling is None else sampling.max_trials
        return -(-(trials or 0) // self.block_size)

    def cells(self) -> tuple[Cell, ...]:
        """Return the cells of the grid: the last listed key of [problem] varies fastest."""
        return self._cells

    def with_block_size(self, size: int) -> Self:
        """Return the experiment cut into blocks of `size` trials, as the frozen copy of a run has it."""
        header = self.document.experiment.model_copy(update={"block_size": size})
        return replace(self, document=self.document.model_copy(update={"experiment": header}))

    def identity_fields(self, cell: Cell) -> dict[str, Any]:
        """Return all that changes a number at a given (cell, trial, width), nested as in the file (JSON values)."""
        document, tokens = self.document, self._tokens
        network = plain(document.network) | {key: tokens[key] for key in ("activation", "output_law")}
        fields = {
            "seed": self.seed,
            "problem": json.loads(cell.canonical)["problem"],
            "network": {**network, "mode": list(self.modes)},
            "loss": {**plain(document.loss), "kind": tokens["loss"]},
            "schema_version": SCHEMA_VERSION,
            "numerics_version": NUMERICS_VERSION,
        }
        if document.flow is not None:
            fields["flow"] = {key: value for key, value in plain(document.flow).items() if key != "widths"}
        if document.rare is not None:
            fields["rare"] = plain(document.rare)
        return fields

    def identity(self, cell: Cell) -> str:
        """Return the SHA-256 of the canonical JSON of `identity_fields`, 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.identity_fields(cell)).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """Several experiments that run and are reported as one.

    Attributes
    ----------
    name : str
        ``[experiment] name``, or the name of the file without its ending.
    experiments : tuple of Experiment
        In the order of the list; their names differ.
    """

    name: str
    experiments: tuple[Experiment, ...]

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], *, reading: bool = False) -> Suite:
        """Read a suite and the experiments it lists (paths relative to its folder); InputError as for those."""
        source, folder = str(path), Path(path).parent
        try:
            document = SuiteDocument.model_validate(plain_values(parse(read_text(path), source)))
        except ValidationError as error:
            keys = {"suite": KEYS["suite"], "experiment": {"name": KEYS["experiment"]["name"]}}
            raise InputError(one_line(explain(error.errors(include_url=False), source, keys))) from None
        experiments = [Experiment.from_toml(folder / item, reading=reading) for item in document.suite.experiments]
        names = [experiment.name for experiment in experiments]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{source}: [suite] experiments: two of them are named {name!r}; use distinct names")
        return cls(document.experiment.name or Path(path).stem, tuple(experiments))


def load_file(path: str | os.PathLike[str], *, reading: bool = False) -> Experiment | Suite:
    """Read a file that holds an experiment or, with a table [suite], a suite."""
    if "suite" in parse(read_text(path), str(path)):
        return Suite.from_toml(path, reading=reading)
    return Experiment.from_toml(path, reading=reading)


def _complete(document: Document, facts: Mapping[str, ArrayFacts]) -> Document:
    """Fill in the defaults that depend on other tables or on files."""
    updates: dict[str, Any] = {}
    if document.certificates.ladder is None:
        modes = document.network.mode
        ladder = tuple(name for name in LADDER if ONE_MODE.get(name, modes[0]) in modes)
        updates["certificates"] = document.certificates.model_copy(update={"ladder": ladder})
    files = {path: StoredArray(shape=known.shape, sha256=known.sha256) for path, known in facts.items()}
    updates["problem"] = document.problem.model_copy(update={"files": files or None})
    return document.model_copy(update=updates)


def _tokens(document: Document) -> dict[str, str]:
    """Return the names in the file, or the tokens of the objects in their places."""
    network, loss = document.network, document.loss
    values = {"activation": network.activation, "output_law": network.output_law, "loss": loss.kind}
    return {what: value if isinstance(value, str) else object_token(value, what) for what, value in values.items()}
