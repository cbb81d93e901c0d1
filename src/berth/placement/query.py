# SPDX-License-Identifier: GPL-3.0-or-later
"""The hint `query`: a condition on hosts as a JSON list in prefix notation.

    ["and", [">=", "$free_ram_mb", 1024], ["in", "$hypervisor_hostname", "c1", "c2"]]

Operators: = < > in <= >= not or and. A comparison holds for the first operand against all others, `in` when the
first is among them. "$a" is a host's attribute, "$a.b" what is in it; an operand without a value is left out, and
a comparison of fewer than two operands is false. `not` holds when any of its operands is false. Source:
nova/scheduler/filters/json_filter.py, release 34.0.0; there a nested `not` is always true, and an unknown
operator or a comparison of a number with a text ends the request in an error.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from berth.placement.attributes import COLUMNS, NAMES, attribute
from berth.placement.fleet import Mask, Rows
from berth.placement.view import View
from berth.spec.query import read_query

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def parse_query(hint: Any) -> list[Any]:
    """Returns the query of a hint that is JSON text or a list already; empty for none."""
    found = json.loads(hint) if isinstance(hint, str) and hint.strip() else hint
    return list(found) if found else []


def problems_in(hint: Any) -> tuple[str, ...]:
    """Returns every mistake in the hint."""
    if hint is None or hint == "":
        return ()
    query, problems = read_query(hint)
    return tuple(f"hint query: {problem}" for problem in problems or _unknown_attributes(query))


def _unknown_attributes(query: list[Any]) -> Iterator[str]:
    for operand in query[1:]:
        if isinstance(operand, list):
            yield from _unknown_attributes(operand)
        elif isinstance(operand, str) and operand.startswith("$") and operand[1:].split(".")[0] not in NAMES:
            yield f"unknown attribute {operand}; known: {', '.join(sorted(NAMES))}"


def answer_columns(query: list[Any], view: View, rows: Rows) -> Mask | None:
    """Returns what answer() says for each row, or None when the query asks about more than numbers."""
    word, *rest = query
    size = view.fleet.size if isinstance(rows, slice) else rows.size
    operands = []
    for operand in rest:
        value = _column(operand, view, rows)
        if value is None:
            return None
        operands.append(value)
    if word in ("not", "or", "and"):
        truths = [np.broadcast_to(np.asarray(value, dtype=bool), size) for value in operands]
        if word == "not":
            return np.asarray(~np.logical_and.reduce(truths)) if truths else np.zeros(size, dtype=bool)
        joined = np.logical_or.reduce(truths) if word == "or" else np.logical_and.reduce(truths)
        return np.broadcast_to(np.asarray(joined, dtype=bool), size)
    if len(operands) < 2:
        return np.zeros(size, dtype=bool)
    first, *others = operands
    compare = operator.eq if word == "in" else _COMPARISONS[word]
    verdicts = [np.broadcast_to(compare(np.asarray(first), other), size) for other in others]
    return np.asarray(np.logical_or.reduce(verdicts) if word == "in" else np.logical_and.reduce(verdicts))


def _column(operand: Any, view: View, rows: Rows) -> Any:
    """Returns an operand as a number or a column of numbers; None when it is neither."""
    if isinstance(operand, list):
        return answer_columns(operand, view, rows) if operand else None
    if isinstance(operand, (int, float)):
        return operand
    if isinstance(operand, str) and operand.startswith("$") and operand[1:] in COLUMNS:
        return COLUMNS[operand[1:]](view, rows)
    return None


def answer(query: list[Any], view: View, row: int) -> bool:
    """Returns whether the host meets the query."""
    if not query:
        return True
    word, *rest = query
    operands = [value for value in (_value(operand, view, row) for operand in rest) if value is not None]
    if word == "not":
        return any(not value for value in operands)
    if word == "or":
        return any(operands)
    if word == "and":
        return all(operands)
    if len(operands) < 2:
        return False
    first, *others = operands
    if word == "in":
        return first in others
    try:
        return all(_COMPARISONS[word](first, other) for other in others)
    except TypeError:
        return False


def _value(operand: Any, view: View, row: int) -> Any:
    if isinstance(operand, list):
        return answer(operand, view, row)
    if not isinstance(operand, str):
        return operand
    if operand.startswith("$"):
        return attribute(view, row, operand[1:].split("."))
    return operand or None


def words_of(query: list[Any], view: View, row: int) -> dict[str, Any]:
    """Returns what the host answers to each `$` word of the query."""
    found: dict[str, Any] = {}
    for operand in query[1:]:
        if isinstance(operand, list):
            found.update(words_of(operand, view, row))
        elif isinstance(operand, str) and operand.startswith("$"):
            found[operand] = _value(operand, view, row)
    return found
