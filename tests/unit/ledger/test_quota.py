# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.ledger import Ledger
from berth.ledger.model import GroupPolicy
from berth.ledger.quota import QuotaExceeded, check, check_booked, exceeded, room
from berth.ledger.rows import BootRecord, NewGuest, Quota, Resources, Usage

SIZE = Resources(2, 512, 1024)


@pytest.mark.parametrize(
    ("quota", "used", "amounts"),
    [
        (Quota(), Usage(999, 999, 999, 999), []),
        (Quota(guests=2), Usage(0, 0, 0, 0), []),
        (Quota(guests=2), Usage(0, 0, 0, 1), ["guests"]),
        (Quota(vcpus=4, memory_mib=1024, disk_mib=2048), Usage(), []),
        (Quota(vcpus=3, memory_mib=1023, disk_mib=2047), Usage(), ["vcpus", "memory_mib", "disk_mib"]),
        (Quota(guests=0), Usage(), ["guests"]),
    ],
)
def test_two_guests_against_a_quota(quota: Quota, used: Usage, amounts: list[str]) -> None:
    assert [item["amount"] for item in exceeded(quota, used, [SIZE, SIZE])] == amounts


def test_a_quota_below_what_is_used_refuses_only_more_of_that() -> None:
    assert exceeded(Quota(disk_mib=1), Usage(0, 0, 100, 1), [Resources(1, 1, 0)]) == []


@given(
    st.builds(Quota, *[st.none() | st.integers(0, 20)] * 4),
    st.builds(Usage, *[st.integers(0, 20)] * 4),
    st.builds(Resources, *[st.integers(0, 4)] * 3),
    st.integers(0, 8),
)
def test_room_is_the_largest_count_that_is_not_refused(quota: Quota, used: Usage, each: Resources, most: int) -> None:
    counts = [count for count in range(most + 1) if not exceeded(quota, used, [each] * count)]
    assert room(quota, used, each, most) == max(counts)


def test_each_guest_may_bring_only_so_much_along() -> None:
    guest = NewGuest("u", "p", "g", "f", "i", SIZE, None, {"a": "b"}, {"user_data": "é"})
    check(Quota(metadata_items=1, injected_files=1, injected_file_content_bytes=2), "p", Usage(), [guest])
    with pytest.raises(QuotaExceeded) as caught:
        check(Quota(metadata_items=0, injected_files=0, injected_file_content_bytes=1), "p", Usage(), [guest])
    assert caught.value.details == (
        "guest g: metadata_items 1, allowed: 0",
        "guest g: injected_files 1, allowed: 0",
        "guest g: injected_file_content_bytes 2, allowed: 1",
    )


def test_what_was_booked_is_counted_once_more() -> None:
    quota = Quota(guests=2, vcpus=4)
    check_booked(quota, "p", Usage(2, 0, 0, 1), Usage(4, 0, 0, 2))
    check_booked(quota, "p", Usage(9, 0, 0, 1), Usage(9, 0, 0, 2))
    with pytest.raises(QuotaExceeded, match="guests 1 used, 2 more"):
        check_booked(quota, "p", Usage(2, 0, 0, 1), Usage(4, 0, 0, 3))


def test_a_boot_past_its_quota_books_nothing(ledger: Ledger, kit: Any) -> None:
    quota = Quota(guests=3, memory_mib=1024, metadata_items=1)
    first = kit.begin(ledger, "a")
    ledger.record_boot(first.id, BootRecord((kit.guest("a"),), quota=quota))
    assert ledger.project_usage("default") == Usage(1, 512, 1024, 1)
    second = kit.begin(ledger, "b", "c")
    with pytest.raises(QuotaExceeded, match="project default: memory_mib 512 used, 1024 more asked for, allowed: 1024"):
        ledger.record_boot(second.id, BootRecord((kit.guest("b"), kit.guest("c")), quota=quota))
    assert [row.name for row in ledger.guests()] == ["a"]
    with pytest.raises(QuotaExceeded, match="guest b: metadata_items 1, allowed: 0"):
        ledger.record_boot(second.id, BootRecord((kit.guest("b"),), quota=Quota(metadata_items=0)))
    ledger.delete_guests(["a"])
    assert ledger.project_usage("default") == Usage()
    ledger.record_boot(second.id, BootRecord((kit.guest("b"), kit.guest("c")), quota=quota))


def test_server_groups_have_a_quota_too(ledger: Ledger) -> None:
    quota = Quota(server_groups=1)
    made = ledger.ensure_group("default", "a", GroupPolicy.AFFINITY, quota=quota)
    assert ledger.ensure_group("default", "a", GroupPolicy.AFFINITY, quota=quota) == made
    with pytest.raises(QuotaExceeded, match="server_groups 1 used, 1 more asked for, allowed: 1"):
        ledger.ensure_group("default", "b", GroupPolicy.AFFINITY, quota=quota)
    ledger.ensure_group("other", "b", GroupPolicy.AFFINITY, quota=quota)
