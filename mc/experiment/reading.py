"""Read a file into raw tables: text, TOML, plain values, absolute paths, and the arrays in the files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mc.errors import InputError
from mc.experiment.arrays import ArrayFacts, file_facts
from mc.experiment.messages import Refusal
from mc.experiment.problem import Problem

LARGEST_FILE = 10**7


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of an experiment file; InputError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise InputError(one_line(f"{path}: is a directory; give the experiment file in it")) from None
    except FileNotFoundError:
        raise InputError(one_line(f"{path}: no such file; give the path of an experiment file (.toml)")) from None
    except (OSError, ValueError) as error:
        raise InputError(one_line(f"{path}: cannot be read ({error}); give an experiment file (.toml)")) from None
    if len(content) > LARGEST_FILE:
        raise InputError(one_line(f"{path}: larger than {LARGEST_FILE} bytes; give an experiment file (.toml)"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(one_line(f"{path}: line {line} is not UTF-8 text; give an experiment file (.toml)")) from None


def parse(text: str, source: str) -> dict[str, Any]:
    """Return the tables of a TOML text; InputError with line and column when it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {text.count(chr(10)) + 1}, column {len(text.rpartition(chr(10))[2]) + 1}, the end of the file"
        reason = str(error).replace("at end of document", end)
        raise InputError(one_line(f"{source}: not valid TOML: {reason}; mend that line")) from None
    except (ValueError, RecursionError) as error:
        raise InputError(one_line(f"{source}: not valid TOML: {error}; use shorter numbers and flat tables")) from None


def one_line(message: str) -> str:
    """Return a message without line breaks and control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split()))


def plain_values(value: Any) -> Any:
    """Turn lists into tuples, and NumPy scalars and vectors into Python numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(plain_values(item) for item in value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value + 0.0  # -0.0 means 0.0
    if isinstance(value, np.ndarray) and value.ndim < 2:
        return plain_values(value.tolist())
    return value


def absolute_paths(data: dict[str, Any], folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the raw tables with absolute paths in [problem]."""
    problem = data.get("problem")
    if not isinstance(problem, dict):
        return data

    def absolute(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(absolute(item) for item in value)
        if isinstance(value, str) and value:
            return os.path.abspath(os.path.join(folder, os.path.expanduser(value)))
        return value

    paths = {key: absolute(problem[key]) for key in ("path", "signal_path") if key in problem}
    return {**data, "problem": {**problem, **paths}}


def problem_files(problem: Problem, reading: bool) -> Iterator[tuple[str, ArrayFacts]]:
    """Yield the path and the facts of every file of [problem]."""
    stored = problem.facts()
    for key, ndim in (("path", 2), ("signal_path", 1)):
        for path in getattr(problem, key) or ():
            known = stored.get(path)
            if known is not None and (reading or not os.path.exists(path)) and len(known.shape) == ndim:
                yield path, known
                continue
            try:
                found = file_facts(path, ndim)
            except Refusal as refusal:
                raise Refusal(refusal.text, key, "problem") from refusal
            if known is not None and known != found:
                fix = "restore it, or start a new run folder"
                raise Refusal(f"{path} has changed since the run began; {fix}", key, "problem")
            yield path, found
