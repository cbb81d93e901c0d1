# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.errors import Conflict, InvalidInput
from berth.ledger.addressing import MAC_CANDIDATES, Pool, guest_mac, mac_candidates, plain_address, plain_mac


@pytest.mark.parametrize(
    ("first", "last", "taken", "expected"),
    [
        ("10.0.0.5", "10.0.0.9", [], "10.0.0.5"),
        ("10.0.0.5", "10.0.0.9", ["10.0.0.5", "10.0.0.7"], "10.0.0.6"),
        ("10.0.0.255", "10.0.1.1", ["10.0.0.255"], "10.0.1.0"),
        ("10.0.0.5", "10.0.0.5", ["10.0.0.5"], None),
        ("10.0.0.5", "10.0.0.5", ["fd00::5"], "10.0.0.5"),
        ("fd00::1", "fd00::ffff", ["fd00::1"], "fd00::2"),
        ("::1", "::1", ["0.0.0.1"], "::1"),
    ],
)
def test_the_lowest_free_address(first: str, last: str, taken: list[str], expected: str | None) -> None:
    assert Pool(taken).lowest(first, last) == expected


@given(st.integers(0, 60), st.integers(0, 60), st.sets(st.integers(0, 80)))
def test_the_lowest_free_address_is_free_in_range_and_lowest(start: int, size: int, taken: set[int]) -> None:
    base = int(ipaddress.ip_address("192.168.7.0"))
    texts = {str(ipaddress.ip_address(base + number)) for number in taken}
    pool = Pool(texts)
    bounds = [str(ipaddress.ip_address(base + number)) for number in (start, start + size)]
    found = pool.lowest(bounds[0], bounds[1])
    free = [number for number in range(start, start + size + 1) if number not in taken]
    expected = [str(ipaddress.ip_address(base + number)) for number in free] + [None]
    assert found == expected[0]
    # The rest of the booking gets the rest, once.
    assert [pool.lowest(bounds[0], bounds[1]) for _ in free] == (expected[1:] if free else [])
    assert pool.lowest(bounds[0], bounds[1]) is None


@pytest.mark.parametrize(("first", "last"), [("10.0.0.9", "10.0.0.5"), ("10.0.0.1", "fd00::1"), ("x", "10.0.0.1")])
def test_a_range_that_is_none_is_refused(first: str, last: str) -> None:
    with pytest.raises(InvalidInput):
        Pool(()).lowest(first, last)


def test_a_guest_keeps_its_mac_and_collisions_get_the_next() -> None:
    first = guest_mac("4b1d", 0, ())
    assert first == guest_mac("4b1d", 0, {"52:54:00:00:00:00"})
    assert plain_mac(first) == first
    others = {guest_mac("4b1d", 1, ()), guest_mac("4b1e", 0, ()), guest_mac("4b1d", 0, {first})}
    assert len(others | {first}) == 4
    assert len(set(mac_candidates("4b1d", 0))) == MAC_CANDIDATES
    with pytest.raises(Conflict, match="no free MAC"):
        guest_mac("4b1d", 0, set(mac_candidates("4b1d", 0)))
    # The first octet is even: unicast.
    assert int(first[:2], 16) % 2 == 0


@pytest.mark.parametrize("text", ["52-54-00-AB-CD-EF", " 52:54:00:ab:cd:ef "])
def test_macs_have_one_form(text: str) -> None:
    assert plain_mac(text) == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize("text", ["", "52:54:00:ab:cd", "52:54:00:ab:cd:eg", "52:54:00:ab:cd:ef:00"])
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        plain_mac(text)


def test_addresses_have_one_form() -> None:
    assert plain_address("FD00:0::1") == "fd00::1"
    with pytest.raises(InvalidInput):
        plain_address("10.0.0.1/24")


def test_reserved_addresses_are_passed_over_and_asked_for_ones_are_taken_once() -> None:
    pool = Pool(["10.0.0.2"])
    assert pool.take("10.0.0.2") is None
    assert pool.take("10.0.0.9", ["10.0.0.9"]) is None
    assert pool.take(" 10.0.0.4 ") == "10.0.0.4"
    assert pool.take("10.0.0.4") is None
    assert [pool.lowest("10.0.0.1", "10.0.0.9", ("10.0.0.1",)) for _ in range(3)] == [
        "10.0.0.3",
        "10.0.0.5",
        "10.0.0.6",
    ]
    assert pool.lowest("10.0.0.1", "10.0.0.9") == "10.0.0.1"
