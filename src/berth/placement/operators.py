# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators of extra specs. Source: nova/scheduler/filters/extra_specs_ops.py, release 34.0.0.

    "text"                     equal to the whole text
    "= n"  ">= n"              at least n (yes, "=" too)
    "== n" "!= n" "<= n"       as numbers
    "s== t" "s!=" "s<" "s<=" "s>" "s>="   as text
    "<in> t"                   t is part of the value
    "<all-in> t u"             each of them is
    "<or> t <or> u"            equal to one of them, as text

Where Nova raises in the middle of a boot or ignores what is left over, `problem_in` names the mistake before.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}
OPERATORS = ("<or>", "<in>", "<all-in>", *_NUMBERS, *_TEXTS)

# Words that are no operator and yet can only be meant as one; the others only where more words follow.
_LOOKS_LIKE = re.compile(r"[<>=!]|s(?:[<>]|[=!]=)")
_MARKS = ("s=", "s!", "in", "or", "all-in", "in>", "or>", "all-in>")


def meets(value: str, requirement: str) -> bool:
    """Returns whether a value meets a requirement without mistakes. A number is never met by a text."""
    word, *rest = requirement.split() or [""]
    if word == "<or>":
        return value in rest[::2]
    if word == "<in>":
        return rest[0] in value
    if word == "<all-in>":
        return all(part in value for part in rest)
    if word in _TEXTS:
        return _TEXTS[word](value, rest[0])
    if word in _NUMBERS:
        number, bound = finite(value), finite(rest[0])
        return number is not None and bound is not None and _NUMBERS[word](number, bound)
    return value == requirement


def finite(text: str) -> float | None:
    """Returns the text as a finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if -float("inf") < number < float("inf") else None


def problem_in(requirement: str) -> str | None:
    """Returns what is wrong with a requirement, or None."""
    word, *rest = requirement.split() or [""]
    if word == "<or>":
        if not rest or len(rest) % 2 == 0 or any(mark != "<or>" for mark in rest[1::2]):
            return "`<or>` needs `<or> A <or> B`"
        return None
    if word == "<all-in>":
        return None if rest else "`<all-in>` needs at least one word"
    if word == "<in>" or word in _TEXTS or word in _NUMBERS:
        if len(rest) != 1:
            return f"`{word}` needs exactly one word after it, found {len(rest)}"
        if word in _NUMBERS and finite(rest[0]) is None:
            return f"`{word}` needs a number after it, found {rest[0]!r}"
        return None
    if _LOOKS_LIKE.match(word) or (word in _MARKS and rest):
        known = ", ".join(OPERATORS)
        return f"`{word}` is not an operator; the operators are {known}, each with a space behind it"
    return None
