# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from berth.spec.suggest import LISTED, did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("m1.smal", ["m1.tiny", "m1.small"], "m1.small"),
        ("M1.SMALL", ["m1.tiny", "m1.small"], "m1.small"),
        ("memory_mb", ["memory_mib", "vcpus"], "memory_mib"),
        ("zzz", ["m1.tiny"], None),
        ("x", [], None),
    ],
)
def test_nearest(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def test_what_is_said() -> None:
    assert did_you_mean("lann", ["lan", "wan"]) == "did you mean lan?"
    assert did_you_mean("zzzz", ["wan", "lan"]) == "known: lan, wan"
    assert did_you_mean("zzzz", []) == "known: none"


def test_long_lists_are_cut() -> None:
    words = [f"flavor-{number:02}" for number in range(LISTED + 3)]
    said = did_you_mean("zzzz", words)
    assert said.startswith("known: flavor-00, flavor-01") and said.endswith("flavor-11 and 3 more")
