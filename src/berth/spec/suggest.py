# SPDX-License-Identifier: GPL-3.0-or-later
"""Did-you-mean for names, keys and words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that `word` most likely meant, case ignored, or None when none is near."""
    by_fold: dict[str, str] = {}
    for candidate in known:
        by_fold.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return by_fold[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], *, noun: str = "known") -> str:
    """Returns `did you mean X?`, else the first known words, else that there are none."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near}?"
    if not words:
        return f"{noun}: none"
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return f"{noun}: {', '.join(words[:LISTED])}{more}"
