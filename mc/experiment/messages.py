"""Explain a mistake in an experiment file in one line: file, table, key, value and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_VALUE = 60
WRITTEN_BY_DIPMC = ("block_size", "files")
"""Keys of the frozen copy of a run, which messages do not suggest."""


class Refusal(ValueError):
    """A mistake in a value, before the name of the file is known: what is wrong and what to write instead.

    `key` is given when the refusal is raised for a whole table, `table` (``"flow.save"``) when it is another one.
    """

    def __init__(self, text: str, key: str = "", table: str = "") -> None:
        super().__init__(text)
        self.text, self.key, self.table = text, key, table

    def line(self, source: str) -> str:
        """Return the line that the user of the file `source` sees."""
        return place(source, self.table, self.key) + self.text


def place(source: str, table: str, key: str) -> str:
    """Return the place of a mistake: ``experiment.toml: [network] activation: ``."""
    parts = [source + ":", f"[{table}]" if table else "", key + ":" if key else ""]
    return " ".join(part for part in parts if part) + " "


def show(value: Any) -> str:
    """Return a value as in a TOML file, on one line and cut when long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        text = "[" + ", ".join(show(item) for item in value[:8]) + (", ..." if len(value) > 8 else "") + "]"
    elif isinstance(value, int) and abs(value) >= 10**LONGEST_VALUE:
        return "a number of more than 60 digits"  # repr of a huge int raises
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, str | int | float):
        text = repr(value)
    else:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def nearest(word: object, known: Iterable[str]) -> str:
    """Return a suggestion such as ``did you mean 'sigmoid'? ``, empty when no name is near."""
    if not isinstance(word, str):
        return ""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}? " if match else ""


def one_of(names: Iterable[str]) -> str:
    """Return the fix for an unknown name: ``use one of a, b``."""
    return "use one of " + ", ".join(names)


def choose(value: object, names: Sequence[str], what: str) -> str:
    """Return `value` if it is one of `names`; else raise Refusal with the nearest name and all of them."""
    if isinstance(value, str) and value in names:
        return value
    raise Refusal(f"{show(value)} is not {what}; {nearest(value, names)}{one_of(names)}")


def explain(errors: Sequence[Mapping[str, Any]], source: str, keys: Mapping[str, Mapping[str, str]]) -> str:
    """Return the first of pydantic's errors as ``source: [table] key: what is wrong; what to write instead``.

    `keys` holds for every table its keys, and for every key what it takes, e.g. ``"a whole number >= 1"``.
    """
    # A misspelt key also makes the right one missing: name the spelling first.
    error = min(errors, key=lambda item: item["type"] != "extra_forbidden")
    words = [part for part in error["loc"] if isinstance(part, str)]
    refusal = error.get("ctx", {}).get("error")
    if isinstance(refusal, Refusal):
        whole_table = ".".join(words) in keys or not words
        table, key = (".".join(words), refusal.key) if whole_table else (".".join(words[:-1]), words[-1])
        return place(source, refusal.table or table, refusal.key or key) + refusal.text
    if error["type"] == "extra_forbidden":
        return _unknown_key(words, error["input"], source, keys)
    if ".".join(words) in keys:
        return _not_a_table(words, error, source, keys)
    table, key = ".".join(words[:-1]), words[-1]
    takes = keys.get(table, {}).get(key, "a valid value")
    value, guess = show(error["input"]), ""
    if error["type"] == "literal_error":
        guess = nearest(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    if error["type"] == "missing":
        return place(source, table, key) + f"is missing; write {key} = {takes}"
    return place(source, table, key) + f"{value} {_reason(error)}; {guess}use {takes}"


def _offered(keys: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {table: {key: keys[table][key] for key in keys[table] if key not in WRITTEN_BY_DIPMC} for table in keys}


def _unknown_key(words: Sequence[str], value: Any, source: str, keys: Mapping[str, Mapping[str, str]]) -> str:
    keys = _offered(keys)
    table, key = ".".join(words[:-1]), words[-1]
    if not table:
        tables = [name for name in keys if "." not in name]
        if isinstance(value, dict):
            fix = nearest(key, tables) + one_of(f"[{name}]" for name in tables)
            return f"{source}: [{key}] is not a table of an experiment; {fix}"
        owners = [f"[{name}]" for name in keys if key in keys[name]]
        fix = f"put it under {' or '.join(owners)}" if owners else "put every key under its table, or drop this one"
        return place(source, "", key) + f"stands outside any table; {fix}"
    known = keys.get(table, {})
    fix = nearest(key, known) or "".join(f"it belongs to [{name}]: " for name in keys if key in keys[name])[:80]
    return place(source, table, key) + f"unknown key; {fix}{one_of(known)}"


def _not_a_table(
    words: Sequence[str], error: Mapping[str, Any], source: str, keys: Mapping[str, Mapping[str, str]]
) -> str:
    table = ".".join(words)
    known = ", ".join(_offered(keys)[table])
    if error["type"] == "missing":
        return f"{source}: [{table}] is missing; add the table [{table}] (keys: {known})"
    return f"{source}: [{table}] {show(error['input'])} is not a table; write [{table}] with keys among {known}"


def _reason(error: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, from the type of the pydantic error."""
    kind, value = error["type"], error["input"]
    wanted = {"int": "a whole number", "float": "a number", "string": "text", "bool": "true or false"}
    for prefix, words in wanted.items():
        if kind.startswith(prefix + "_type"):
            return "is text, not " + words if isinstance(value, str) else "is not " + words
    if kind == "finite_number":
        return "is not finite"
    if kind.startswith(("greater_than", "less_than")):
        return "is out of range"
    if kind in ("too_short", "too_long"):
        return "has too few entries" if kind == "too_short" else "has too many entries"
    if kind == "tuple_type":
        return "is not a list"
    if kind == "literal_error":
        return "is unknown"
    return "is not valid"
