# SPDX-License-Identifier: GPL-3.0-or-later
"""Pydantic's errors as problems a person can act on: where, what was found, what is allowed, what was meant."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from berth.errors import Problem
from berth.spec.suggest import did_you_mean
from berth.spec.yamltext import Path, path_text

SHOWN = 60

# What is allowed, by pydantic's error type (pydantic docs, "Validation Errors"); {} takes values of its context.
_ALLOWED = {
    "string_type": "text",
    "string_unicode": "text of valid characters",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "greater_than_equal": "a whole number of at least {ge}",
    "less_than_equal": "a whole number of at most {le}",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a map of keys",
    "model_type": "a map of keys",
    "model_attributes_type": "a map of keys",
}
_SECRET = ("user_data",)


class Source(Protocol):
    """What the validated value came from."""

    def where(self, path: Path) -> str:
        """Returns the place of `path`: file, line and path as far as known."""
        ...

    def written_at(self, path: Path) -> str | None:
        """Returns the scalar at `path` as it was written, None when that is not known."""
        ...


class Place:
    """A value that came through a program. `places` maps a path, as text, to its `file:line` where that is known."""

    def __init__(self, name: str, places: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.places = places or {}

    def where(self, path: Path) -> str:
        """Returns the place of `path` or of its nearest parent, else the name; then the path."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path_text(path[:length]))
            if place:
                break
        return ": ".join(part for part in (place or self.name, path_text(path)) if part)

    def written_at(self, path: Path) -> str | None:
        """Returns None: how the value was written is lost."""
        return None


def problems_of(error: ValidationError, model: type[BaseModel], source: Source, at: Path = ()) -> list[Problem]:
    """Returns one problem per mistake of `error`, which came from validating `model` on what is at `at`."""
    return [_problem(details, model, source, at) for details in error.errors(include_url=False)]


def mistake(source: Source, path: Path, value: Any, allowed: str) -> Problem:
    """Returns the problem of a value that is not what is allowed."""
    return Problem(source.where(path), f"found {shown(value, source.written_at(path))}, allowed: {allowed}")


def unknown_key(source: Source, path: Path, known: list[str]) -> Problem:
    """Returns the problem of a key that nothing reads; the path ends with it."""
    key = str(path[-1])
    return Problem(source.where(path), f"unknown key {shown(key)}; {did_you_mean(key, known, noun='known keys')}")


def unknown_name(where: str, noun: str, name: str, known: Iterable[str]) -> Problem:
    """Returns the problem of a name that no entry of the catalog has."""
    return Problem(where, f"{noun} {shown(name)} is not in the catalog; {did_you_mean(name, known)}")


def shown(value: Any, written: str | None = None) -> str:
    """Returns a found value as one short line; key material and long text are not repeated."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        read = "true" if value else "false"
        return read if written is None or written.lower() == read else f"{written} (YAML reads it as {read})"
    if isinstance(value, str):
        if "PRIVATE KEY" in value:
            return "a private key"
        text = re.sub(r"//[^/@\s]*@", "//...@", value)
        return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)[:SHOWN]


def _inside(value: Any) -> str:
    """Returns what a list or map of scalars holds, for a rule about the whole of it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())[:SHOWN]
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)[:SHOWN]
    return ""


def _problem(details: Any, model: type[BaseModel], source: Source, at: Path) -> Problem:
    kind: str = details["type"]
    inner: Path = tuple(details["loc"])
    of_key = bool(inner) and inner[-1] == "[key]"
    path = (*at, *(inner[:-1] if of_key else inner))
    if kind == "extra_forbidden":
        return unknown_key(source, path, _known_keys(model, inner[:-1]))
    allowed = _allowed(kind, details)
    value = details["input"]
    if kind == "missing" or (value is None and _is_default(model, inner)):
        if kind == "missing":
            allowed = _description(model, inner)
        return Problem(source.where(path), "is missing" + (f", allowed: {allowed}" if allowed else ""))
    if of_key:
        return Problem(source.where(path), f"found the key {shown(value)}, allowed: {allowed}")
    if any(part in _SECRET for part in inner):
        return Problem(source.where(path), f"found a value that is not shown, allowed: {allowed}")
    written = source.written_at(path)
    if kind == "value_error" and _inside(value):
        return Problem(source.where(path), f"found {_inside(value)}, allowed: {allowed}")
    if kind == "string_type" and isinstance(value, bool | int | float):
        allowed += "; put it in quotes"
    return Problem(source.where(path), f"found {shown(value, written)}, allowed: {allowed}")


def _allowed(kind: str, details: Any) -> str:
    context = details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in ("enum", "literal_error"):
        words = re.findall(r"'([^']*)'", context["expected"])
        found = details["input"]
        near = did_you_mean(found, words) if isinstance(found, str) else ""
        return ", ".join(words) + (f"; {near}" if near.startswith("did") else "")
    if kind in _ALLOWED:
        return _ALLOWED[kind].format(**context)
    return str(details["msg"])


def _models_at(model: type[BaseModel], inner: Path) -> Iterator[type[BaseModel]]:
    """Yields the model and then the nested ones that `inner` leads through, as far as it goes."""
    yield model
    for part in inner:
        field = model.model_fields.get(str(part))
        nested = _nested(field.annotation) if field else None
        if nested is None:
            return
        model = nested
        yield model


def _nested(annotation: Any) -> type[BaseModel] | None:
    candidates = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


_UNIONS = (typing.Union, types.UnionType)


def _known_keys(model: type[BaseModel], inner: Path) -> list[str]:
    return list(list(_models_at(model, inner))[-1].model_fields)


def _field(model: type[BaseModel], inner: Path) -> Any:
    owner = list(_models_at(model, inner[:-1]))[-1]
    return owner.model_fields.get(str(inner[-1])) if inner else None


def _description(model: type[BaseModel], inner: Path) -> str:
    field = _field(model, inner)
    return (field.description or "") if field else ""


def _is_default(model: type[BaseModel], inner: Path) -> bool:
    field = _field(model, inner)
    return field is not None and not field.is_required() and field.default is None
