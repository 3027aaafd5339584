"""Base class of the tables of a file, and the checks of values that may be Python objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import numpy as np
from annotated_types import DocInfo
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetPydanticSchema, ValidationInfo, create_model
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from mc.errors import InputError
from mc.experiment.arrays import OBJECT, ArrayFacts, array_facts
from mc.experiment.messages import Refusal, choose, one_of, show
from mc.flow.settings import FlowSettings, Save
from mc.model import activations, losses
from mc.model.activations import Activation
from mc.model.draws import OUTPUT_LAWS, OutputLaw, get_law
from mc.model.problem import OPERATORS
from mc.trial.rare.settings import RareSettings

AUTO = "auto"


class Table(BaseModel):
    """A table of the file: frozen, without unknown keys, without conversions, without NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    # Keys that take a value or a list of values; kept as tuples, written as a plain value when there is one.
    grid: ClassVar[tuple[str, ...]] = ()


def _table_of(settings: type) -> type[Table]:
    """Build the table that validates a frozen dataclass: a key a field, its constraint, its default, its text."""
    hints = get_type_hints(settings, include_extras=True)
    definitions: dict[str, Any] = {}
    kind: Any
    for item in fields(settings):
        kind, *constraints = get_args(hints[item.name])
        (text,) = (c.documentation for c in constraints if isinstance(c, DocInfo))
        default: Any = ... if item.default is MISSING else item.default
        info = Field(default, description=text)
        if isinstance(kind, type) and is_dataclass(kind):
            info = Field(default_factory=kind, description=text)
            kind = Annotated[kind, AS_TABLE]
        for constraint in constraints:
            kind = Annotated[kind, constraint]
        definitions[item.name] = (kind, info)
    return create_model(settings.__name__, __base__=Table, **definitions)


def _read_as_table(settings: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    def build(table: Table) -> Any:
        return settings(**{name: getattr(table, name) for name in type(table).model_fields})

    return no_info_after_validator_function(build, handler(_table_of(settings)))


AS_TABLE = GetPydanticSchema(_read_as_table)
"""Marks a frozen dataclass of another room, whose fields carry constraints and texts, as a table of the file."""


def keys(table: type) -> dict[str, str]:
    """Return every key of a table, and the text that says what it takes."""
    model = table if issubclass(table, Table) else _table_of(table)
    return {info.alias or name: info.description or "" for name, info in model.model_fields.items()}


TABLES = (Table, FlowSettings, Save, RareSettings)


def plain(table: Any) -> dict[str, Any]:
    """Return a table as TOML holds it: lists, numbers, text, tables; no absent key; Python objects as they are."""
    names = type(table).model_fields if isinstance(table, Table) else {item.name: item for item in fields(table)}
    grid = getattr(table, "grid", ())
    values: dict[str, Any] = {}
    for name, info in names.items():
        value = getattr(table, name)
        if isinstance(value, TABLES):
            value = plain(value)
        elif isinstance(value, dict):
            value = {key: plain(item) for key, item in value.items()}
        elif isinstance(value, tuple):
            value = value[0] if name in grid and len(value) == 1 else list(value)
        if value is not None:
            values[getattr(info, "alias", None) or name] = value
    if isinstance(table, Save) and not table.signal:
        del values["signal"]  # the key is younger than runs whose identities must stay the same
    if isinstance(table, FlowSettings) and table.rule == "gd" and table.gamma is None:
        values["gamma"] = AUTO
    return values


def listed(data: Any, grid: tuple[str, ...]) -> Any:
    """Return a raw table with a tuple under every grid key."""
    if not isinstance(data, Mapping):
        return data
    lists = {}
    for key in (key for key in grid if key in data):
        value = data[key] if isinstance(data[key], tuple) else (data[key],)
        if not value:
            raise Refusal("[] is an empty grid; list at least one value, or drop the key", key)
        lists[key] = value
    return {**data, **lists}


def distinct(key: str, values: tuple[Any, ...] | None) -> None:
    """Refuse a value that is listed twice."""
    seen: set[Any] = set()
    for value in values or ():
        if value in seen:
            raise Refusal(f"{show(value)} is listed twice; list it once", key)
        seen.add(value)


def increasing(key: str, values: tuple[int, ...]) -> None:
    """Refuse widths that are not increasing."""
    for a, b in pairwise(values):
        if a >= b:
            raise Refusal(f"{b} after {a}: widths must be increasing; sort them, each once", key)


def check_activation(value: Any, info: ValidationInfo) -> Any:
    """Return a name of the registry, or an `Activation`; an object of the registry becomes its name."""
    if isinstance(value, str) and value.lower().replace("-", "_") in activations.REFUSED:
        fix = one_of(activations.NAMES)
        raise Refusal(f"{show(value)} has no Lipschitz derivative, which the theory asks for (theory §1); {fix}")
    if isinstance(value, Activation):
        try:
            activations.get(value)
        except InputError as error:
            raise Refusal(f"{error}; mend the object, or {one_of(activations.NAMES)}") from error
        if value.name in activations.NAMES and type(activations.get(value.name)) is type(value):
            return value.name
    return _name_or_object(value, info, activations.NAMES, "an activation", Activation)


def check_loss(value: Any, info: ValidationInfo) -> Any:
    """Return a name of the registry, or a `Loss`."""
    return _name_or_object(value, info, losses.NAMES, "a loss", losses.Loss)


def check_output_law(value: Any, info: ValidationInfo) -> Any:
    """Return a name of the registry, or an `OutputLaw`; a law of the registry becomes its name, which draws use."""
    if isinstance(value, OutputLaw) and value.name in OUTPUT_LAWS and value == get_law(value.name):
        return value.name
    return _name_or_object(value, info, OUTPUT_LAWS, "an output law", OutputLaw)


def check_operator(value: Any, info: ValidationInfo) -> str | ArrayFacts:
    """Return the name of an operator, or the facts of a matrix."""
    if isinstance(value, ArrayFacts):
        return value
    if isinstance(value, np.ndarray):
        try:
            return array_facts(value, 2)
        except Refusal as refusal:
            raise Refusal("the array " + refusal.text) from refusal
    if isinstance(value, str) and _is_token(value, info) and (known := ArrayFacts.from_token(value)):
        return known
    return choose(value, OPERATORS, "an operator")


def _name_or_object(value: Any, info: ValidationInfo, names: tuple[str, ...], what: str, kind: type) -> Any:
    if isinstance(value, str):
        return value if _is_token(value, info) else choose(value, names, what)
    if not isinstance(value, kind):
        raise Refusal(f"{show(value)} is not {what}; {one_of(names)}, or in Python an object of type {kind.__name__}")
    name = getattr(value, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._()+-]{0,99}", name):
        raise Refusal(f"{show(name)} cannot name {what}; use letters, digits and ._()+-")
    return value


def _is_token(value: str, info: ValidationInfo) -> bool:
    """Whether `value` is the token of a Python object; Refusal unless a finished run is read."""
    if not value.startswith(OBJECT):
        return False
    if (info.context or {}).get("reading"):
        return True
    name = value.split(":")[1]
    raise Refusal(
        f"{name!r} is a Python object, which a file cannot hold; build the experiment in Python (Experiment.from_dict)"
    )
