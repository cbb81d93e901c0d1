# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that aggregates set for their hosts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from berth.placement.fleet import ALL, Fleet, Floats, Rows

_NOTHING = float("nan")


def smallest(values: frozenset[str], default: float, cast: Callable[[str], float] = float) -> float:
    """Returns the smallest of the texts as a number; `default` for none, or when any is not a finite number.

    One value that cannot be read makes all of them count for nothing, "4,8" included, as in Nova.
    """
    try:
        numbers = [cast(value) for value in values]
    except ValueError:
        return default
    if not numbers or not all(-float("inf") < number < float("inf") for number in numbers):
        return default
    return min(numbers)


def _smallest_number(values: frozenset[str]) -> float:
    return smallest(values, _NOTHING)


def _smallest_whole(values: frozenset[str]) -> float:
    return smallest(values, _NOTHING, int)


def aggregate_numbers(
    fleet: Fleet, key: str, default: float | Floats, rows: Rows = ALL, *, whole: bool = False
) -> float | Floats:
    """Returns the number that the aggregates' metadata `key` sets per row, else the default (a number or a column).

    `whole`: only whole numbers count as numbers.
    """
    fallback = default if isinstance(default, (int, float)) else default[rows]
    if key not in fleet.aggregate_keys:
        return fallback
    numbers = fleet.aggregate_numbers(key, _smallest_whole if whole else _smallest_number)[rows]
    return np.where(np.isnan(numbers), fallback, numbers)


def number_at(numbers: float | Floats) -> float:
    """Returns the number of the single row that was asked for."""
    return float(numbers) if isinstance(numbers, (int, float)) else float(numbers[0])
