# SPDX-License-Identifier: GPL-3.0-or-later
"""How failed builds count against a host: each counts one, half of what there is goes every hour. Pure.

Nova counts until the next success and never forgets: a host that failed once would be avoided for ever when nothing is
placed there any more.
"""

from __future__ import annotations

HALF_LIFE_S = 3600.0


def score_now(score: float, scored_at: float | None, now: float) -> float:
    """Returns what is left at `now` of a score of `scored_at`; 0.0 once it is below one hundredth."""
    if scored_at is None:
        return 0.0
    left = float(score * 0.5 ** (max(0.0, now - scored_at) / HALF_LIFE_S))
    return left if left >= 0.01 else 0.0


def score_after(score: float, scored_at: float | None, now: float, *, ok: bool) -> float:
    """Returns the score after one more build: a success forgives everything."""
    return 0.0 if ok else score_now(score, scored_at, now) + 1.0
