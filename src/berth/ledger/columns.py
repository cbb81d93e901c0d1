# SPDX-License-Identifier: GPL-3.0-or-later
"""What each column may hold, and what of a row's values it cannot. Pure.

SQLite stores any value in any column, and PostgreSQL tells the first mistake only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, Table

from berth.ledger.owner import Owner
from berth.ledger.tables import Names, Word, actions
from berth.ledger.values import BIG_WHOLE_MOST, TIME_MOST_S, WHOLE_MOST, is_json, is_text, is_time, is_whole

_Rule = Callable[[Any], bool]


def wrong_values(table: Table, row: Mapping[str, Any]) -> Iterator[str]:
    """Yields the values that a row's columns cannot hold, each as `column: found, allowed`. Values as in an export."""
    for name, holds, allowed in _rules_of(table):
        value = row[name]
        if not holds(value):
            yield f"{name}: found {value!r:.60}, allowed: {allowed}"
    # Owners of what has ended are only shown; the others' death is looked for.
    if table is actions and row["ended_at"] is None and isinstance(row["owner"], Mapping):
        odd = [key for key in {*_OWNER, *row["owner"]} if not _OWNER.get(key, _never)(row["owner"].get(key))]
        if odd:
            yield f"owner: missing, unknown or wrong: {', '.join(sorted(odd))}"


def _never(_value: Any) -> bool:
    return False


@cache
def _rules_of(table: Table) -> tuple[tuple[str, _Rule, str], ...]:
    """Returns a table's columns, each with its rule and what that allows: a ledger's history has many rows."""
    found = []
    for column in table.c:
        holds, allowed = _rule(column)
        if column.nullable:
            holds, allowed = _or_null(holds), f"{allowed} or null"
        found.append((column.key, holds, allowed))
    return tuple(found)


def _or_null(holds: _Rule) -> _Rule:
    return lambda value: value is None or holds(value)


def _rule(column: Column[Any]) -> tuple[_Rule, str]:
    kind = column.type
    if isinstance(kind, Word):
        words = {word.value for word in kind.words}
        return lambda value: isinstance(value, str) and value in words, ", ".join(kind.words)
    if isinstance(kind, Names):
        return lambda value: isinstance(value, list) and all(map(is_text, value)), "a list of names"
    for base, holds, allowed in _RULES:
        if isinstance(kind, base):
            return holds, allowed
    return is_text, "text"


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and is_json(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_big(value: Any) -> bool:
    return is_whole(value, 0, BIG_WHOLE_MOST)


# The narrower type first. All that is a Double is a time, or a score that is as small.
_RULES: tuple[tuple[type[Any], _Rule, str], ...] = (
    (JSON, _is_map, "a map"),
    (Boolean, _is_flag, "true, false"),
    (BigInteger, _is_big, f"a whole number from 0 to {BIG_WHOLE_MOST}"),
    (Integer, is_whole, f"a whole number from 0 to {WHOLE_MOST}"),
    (Double, is_time, f"seconds from 0 to {TIME_MOST_S}"),
)
# Clock ticks since boot pass a whole number after 248 days.
_OWNER: dict[str, _Rule] = {field.name: is_text for field in fields(Owner)} | {
    "pid": is_whole,
    "started_ticks": _is_big,
}
