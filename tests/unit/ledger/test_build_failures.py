# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from berth.ledger import Ledger
from berth.ledger.build_failures import HALF_LIFE_S, score_after, score_now


@pytest.mark.parametrize(
    ("score", "age", "expected"),
    [
        (2.0, 0.0, 2.0),
        (2.0, HALF_LIFE_S, 1.0),
        (2.0, 2 * HALF_LIFE_S, 0.5),
        (1.0, 20 * HALF_LIFE_S, 0.0),
        (2.0, -5.0, 2.0),
    ],
)
def test_failures_fade(score: float, age: float, expected: float) -> None:
    assert score_now(score, 1000.0, 1000.0 + age) == pytest.approx(expected)


def test_without_a_failure_there_is_no_score() -> None:
    assert score_now(0.0, None, 5.0) == 0.0


def test_failures_add_up_and_a_success_forgives() -> None:
    assert score_after(1.0, 0.0, HALF_LIFE_S, ok=False) == pytest.approx(1.5)
    assert score_after(7.0, 0.0, 1.0, ok=True) == 0.0


def test_builds_are_counted_per_host(ledger: Ledger) -> None:
    ledger.count_build("h1", ok=False)
    row = ledger.count_build("h1", ok=False)
    assert row.failure_score == pytest.approx(2.0, abs=0.01)
    assert row.failure_at is not None
    assert ledger.host("h2").failure_score == 0.0
    row = ledger.count_build("h1", ok=True)
    assert (row.failure_score, row.failure_at) == (0.0, None)
