# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of the hint `query`: a condition on hosts as a JSON list, operator first (Nova's JsonFilter)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

OPERATORS = ("=", "<", ">", "<=", ">=", "in", "not", "or", "and")
MAX_DEPTH = 32
LARGEST = 2**53  # what a host can have of anything
QUERY_RULE = 'a JSON list such as [">=", "$free_ram_mb", 1024]'


def read_query(value: Any) -> tuple[list[Any], list[str]]:
    """Returns the query of a list, or of the JSON text of one, and what is wrong with its form."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            return [], [f"no JSON list: {error}"]
    if not isinstance(value, list | tuple):
        return [], ["no JSON list"]
    query = list(value)
    return query, list(dict.fromkeys(_problems(query, 0)))


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _is_comparable(number: float) -> bool:
    return abs(number) <= LARGEST if isinstance(number, int) else isfinite(number)


def _problems(query: list[Any], depth: int) -> Iterator[str]:
    if not query:
        return
    if depth > MAX_DEPTH:
        yield f"more than {MAX_DEPTH} levels deep"
        return
    word, *operands = query
    if not isinstance(word, str) or word not in OPERATORS:
        yield f"unknown operator {word!r}; known: {' '.join(OPERATORS)}"
    for operand in operands:
        if isinstance(operand, list):
            yield from _problems(operand, depth + 1)
        elif isinstance(operand, dict):
            yield f"a map is no operand: {operand}"
        elif isinstance(operand, int | float) and not _is_comparable(operand):
            shown = operand if isinstance(operand, float) else "a whole number beyond 2**53"
            yield f"{shown} is no number to compare with"
