# SPDX-License-Identifier: GPL-3.0-or-later
"""What a booking changes."""

from berth.placement import GuestRequest, Host, Profile, build_fleet, place
from berth.placement.view import View

FULL = {"disk_mib_total": 102400, "disk_free_mib_measured": 0, "disk_allocation_ratio": 1.5}
HOST = Host("c1", facts_at=0.0, vcpus_total=8, memory_mib_total=8704, **FULL)
LARGE = GuestRequest(uuid="l", name="l", vcpus=1, memory_mib=512, disk_gib=3)
SMALL = GuestRequest(uuid="s", name="s", vcpus=1, memory_mib=512, disk_gib=49)


def test_what_was_measured_free_does_not_fall_below_nothing():
    view = View(build_fleet([HOST]), 0.0)
    view.book(0, LARGE)
    after = build_fleet([view.host(0)])
    assert view.usage.disk_mib_free.tolist() == after.usage.disk_mib_free.tolist() == [0.0]


def test_a_guest_gets_in_a_batch_what_it_gets_on_its_own():
    profile = Profile(filters=("DiskFilter",))
    view = View(build_fleet([HOST]), 0.0)
    view.book(0, LARGE)
    assert place(build_fleet([view.host(0)]), [SMALL], profile, now_s=0.0).ok
    assert place(build_fleet([HOST]), [LARGE, SMALL], profile, now_s=0.0).ok
