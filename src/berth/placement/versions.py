# SPDX-License-Identifier: GPL-3.0-or-later
"""Version numbers as libvirt counts them, and predicates such as ">=6.0,<9".

Source: oslo_utils.versionutils (VersionPredicate, convert_version_to_str) as Nova 34 uses it.
"""

from __future__ import annotations

import operator
import re

_PART = re.compile(r"^\s*(<=|>=|<|>|==|!=)\s*(\d+(?:\.\d+)*)\s*$")
_OPERATORS = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}


def version_text(number: int) -> str:
    """Returns 7002022 as 7.2.22."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def predicate_problem(text: str) -> str | None:
    """Returns what is wrong with a predicate, or None."""
    wrong = [part.strip() for part in text.split(",") if not _PART.match(part)]
    if not wrong:
        return None
    return f"{wrong[0]!r} is no comparison such as >=6.0; operators: {' '.join(_OPERATORS)}"


def version_meets(number: int, text: str) -> bool:
    """Returns whether the version meets every comparison of a predicate without mistakes."""
    have = _padded(version_text(number))
    for part in text.split(","):
        match = _PART.match(part)
        if match is None or not _OPERATORS[match[1]](have, _padded(match[2])):
            return False
    return True


def _padded(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (6 - len(numbers)))
