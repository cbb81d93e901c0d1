# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads plain maps against a table of keys: every mistake with its place, and the JSON schema of the same table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.errors import InvalidInput, Problem
from berth.placement.devices import parse_cpus
from berth.placement.naming import did_you_mean

Path = tuple[str | int, ...]
Where = Callable[[Path], str]

_LARGEST = 2**53


def dotted(path: Path) -> str:
    """Returns hosts[2].name for ("hosts", 2, "name")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True)
class Kind:
    """What a value may be: a test for plain values, or the kind of its items, or the keys of its maps."""

    allowed: str
    schema: Mapping[str, Any]
    accepts: Callable[[Any], bool] = lambda value: True
    item: Kind | None = None
    keys: Mapping[str, Kind] | None = None
    required: tuple[str, ...] = ()


def is_number(value: Any) -> bool:
    """Returns whether the value is a finite number and not a boolean."""
    return type(value) in (int, float) and -float("inf") < value < float("inf")


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_cpus(value: Any) -> bool:
    try:
        parse_cpus(str(value))
    except ValueError:
        return False
    return type(value) in (str, int)


def _is_text_map(value: Any) -> bool:
    plain = (str, int, float, bool)
    return isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(v, plain) for key, v in value.items())


TEXT = Kind("text", {"type": "string"}, lambda value: isinstance(value, str))
NAME = Kind("a name", {"type": "string", "minLength": 1}, lambda value: isinstance(value, str) and bool(value.strip()))
BOOLEAN = Kind("true, false", {"type": "boolean"}, lambda value: type(value) is bool)
WHOLE = Kind("a whole number, 0 or more", {"type": "integer", "minimum": 0}, _is_whole)
COUNT = Kind("a whole number, 1 or more", {"type": "integer", "minimum": 1}, lambda v: _is_whole(v) and v > 0)
AMOUNT = Kind(
    "a finite number, 0 or more", {"type": "number", "minimum": 0}, lambda value: is_number(value) and value >= 0
)
NUMBER = Kind("a finite number", {"type": "number"}, is_number)
POSITIVE = Kind(
    "a finite number above 0", {"type": "number", "exclusiveMinimum": 0}, lambda value: is_number(value) and value > 0
)
CPUS = Kind("a list of CPUs such as 0-3,8", {"type": ["string", "integer"]}, _is_cpus)
ANY_MAP = Kind("a map", {"type": "object"}, lambda value: isinstance(value, Mapping))
TEXTS = Kind(
    "a map of names to text",
    {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    _is_text_map,
)
NUMBERS = Kind(
    "a map of names to numbers",
    {"type": "object", "additionalProperties": {"type": "number"}},
    lambda value: isinstance(value, Mapping) and all(is_number(number) for number in value.values()),
)


def nothing_or(kind: Kind) -> Kind:
    """Returns the kind that also allows null."""
    return Kind(
        f"{kind.allowed}, or null",
        {"anyOf": [dict(kind.schema), {"type": "null"}]},
        lambda value: value is None or kind.accepts(value),
    )


def one_of(*words: str) -> Kind:
    """Returns the kind of a closed set of words."""
    return Kind(", ".join(words), {"enum": list(words)}, lambda value: isinstance(value, str) and value in words)


def list_of(kind: Kind) -> Kind:
    """Returns the kind of a list."""
    return Kind(
        f"a list, each {kind.allowed}",
        {"type": "array", "items": dict(kind.schema)},
        lambda value: isinstance(value, (list, tuple)),
        item=kind,
    )


def map_of(kind: Kind) -> Kind:
    """Returns the kind of a map from names to values of one kind."""
    return Kind(
        f"a map of names, each {kind.allowed}",
        {"type": "object", "additionalProperties": dict(kind.schema)},
        lambda value: isinstance(value, Mapping),
        item=kind,
    )


def record(keys: Mapping[str, Kind], *required: str) -> Kind:
    """Returns the kind of a map with known keys."""
    schema = {
        "type": "object",
        "properties": {key: dict(kind.schema) for key, kind in keys.items()},
        "required": list(required),
        "additionalProperties": False,
    }
    return Kind("a map of keys", schema, lambda value: isinstance(value, Mapping), keys=keys, required=required)


@dataclass
class Reading:
    """One reading of one document; collects problems."""

    what: str
    where: Where = dotted
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, path: Path, text: str) -> None:
        """Notes one mistake."""
        self.problems.append(Problem(self.where(path), text))

    def check(self, kind: Kind, value: Any, path: Path = ()) -> None:
        """Notes every mistake in a value."""
        if not kind.accepts(value):
            found = type(value).__name__ if isinstance(value, (Mapping, list)) else repr(value)
            self.wrong(path, f"found {found}, allowed: {kind.allowed}")
        elif kind.keys is not None:
            self._check_keys(kind, kind.keys, value, path)
        elif kind.item is not None:
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in items:
                self.check(kind.item, item, (*path, key))

    def _check_keys(self, kind: Kind, keys: Mapping[str, Kind], value: Mapping[str, Any], path: Path) -> None:
        for key, part in value.items():
            if key in keys:
                self.check(keys[key], part, (*path, key))
            else:
                self.wrong((*path, str(key)), f"unknown key {key!r}; {did_you_mean(str(key), keys)}")
        for key in kind.required:
            if key not in value:
                self.wrong(path, f"{key} is missing")

    def finish(self, hint: str = "") -> None:
        """Raises InvalidInput with every mistake noted, if there is any."""
        if self.problems:
            raise InvalidInput.from_problems(self.what, self.problems, hint=hint)
