# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.errors import InvalidInput
from berth.verbs.verify_pairs import verify_pairs

NINE = [f"h{number}" for number in range(1, 10)]


@pytest.mark.parametrize(
    ("hosts", "changed", "mode", "expected"),
    [
        pytest.param([], [], "auto", {}, id="no host"),
        pytest.param(["h1"], ["h1"], "auto", {"h1": []}, id="one host has no other"),
        pytest.param(["h1", "h2"], [], "auto", {"h1": ["h2"], "h2": ["h1"]}, id="every pair of two"),
        pytest.param(["h1", "h2"], ["h1"], "none", {"h1": [], "h2": []}, id="none"),
    ],
)
def test_small_fleets(hosts, changed, mode, expected):
    assert verify_pairs(hosts, changed, mode) == expected


def test_eight_hosts_are_all_pairs_and_nine_are_not():
    assert sum(map(len, verify_pairs(NINE[:8], []).values())) == 56
    assert sum(map(len, verify_pairs(NINE, []).values())) == 27
    assert sum(map(len, verify_pairs(NINE, [], "all").values())) == 72


def test_above_eight_the_ring_of_the_next_three_and_every_changed_host():
    pairs = verify_pairs(NINE, ["h2", "gone"])
    assert pairs["h1"] == ["h2", "h3", "h4"]
    assert pairs["h5"] == ["h2", "h6", "h7", "h8"]
    assert pairs["h8"] == ["h1", "h2", "h9"]
    assert pairs["h2"] == ["h3", "h4", "h5"]


@given(st.integers(0, 30), st.sets(st.integers(0, 29)), st.sampled_from(["auto", "all", "none"]))
def test_nobody_opens_itself_or_a_stranger_and_everybody_is_opened(count, changed, mode):
    hosts = [f"h{number}" for number in range(count)]
    pairs = verify_pairs(hosts, {f"h{number}" for number in changed}, mode)
    assert list(pairs) == hosts
    assert all(host not in others and set(others) <= set(hosts) for host, others in pairs.items())
    opened = {other for others in pairs.values() for other in others}
    assert opened == (set(hosts) if mode != "none" and count > 1 else set())


def test_another_mode_is_refused_with_the_allowed_ones():
    with pytest.raises(InvalidInput, match=r"'some'; allowed: auto, all, none"):
        verify_pairs(["h1"], [], "some")
