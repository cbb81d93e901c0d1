# SPDX-License-Identifier: GPL-3.0-or-later
"""What a booking has computed again for a kind of request, and what not."""

from dataclasses import replace

import pytest

from berth.placement import GuestOnHost, GuestRequest, Host, Policy, Profile, ServerGroup, build_fleet, place
from berth.placement.shapes import Shape
from berth.placement.view import View

HOSTS = [Host(f"c{n}", facts_at=0.0, vcpus_total=8, memory_mib_total=8704) for n in range(5)]
GUEST = GuestRequest(uuid="new", name="new", vcpus=1, memory_mib=512)
NEAR = ServerGroup("near", Policy.AFFINITY, {"a": "c1", "b": "c2"})

KINDS = {
    "different_host": ({"hints": {"different_host": ["named", "far"]}}, {"uuid": "named"}, [1, 2, 3, 4]),
    "same_host": ({"hints": {"same_host": ["home"]}}, {"uuid": "home"}, [0]),
    "affinity": ({"group": replace(NEAR, members={})}, {"group": replace(NEAR, members={})}, [0]),
    "affinity with members": ({"group": NEAR}, {"group": NEAR}, [0, 1, 2]),
}


@pytest.mark.parametrize(("asked", "booked", "left"), KINDS.values(), ids=KINDS)
def test_filters_that_read_other_hosts_are_asked_again_after_the_guests_they_read(asked, booked, left, monkeypatch):
    view, asks = View(build_fleet(HOSTS), 0.0), []
    shape = Shape(view, replace(GUEST, **asked), Profile().pipeline)
    (rule,) = shape._by_batch
    passes = type(rule).passes
    monkeypatch.setattr(type(rule), "passes", lambda *given: asks.append(given) or passes(*given))

    view.book(1, replace(GUEST, uuid="other", group=ServerGroup("other", Policy.AFFINITY)))
    before = shape.scores
    shape.refresh()
    assert not asks and shape.scores is before

    view.book(0, replace(GUEST, **booked))
    shape.refresh()
    assert len(asks) == 1 and shape.scores.rows.tolist() == left


def test_one_host_that_goes_costs_no_other_its_weights():
    view = View(build_fleet(HOSTS), 0.0)
    shape = Shape(view, replace(GUEST, hints={"different_host": "named"}), Profile().pipeline)
    before = shape.scores
    view.book(0, replace(GUEST, uuid="named"))
    shape.refresh()
    assert shape.scores is before and before.rows.tolist() == [1, 2, 3, 4]


def test_a_host_passes_again_when_the_guest_it_was_refused_for_has_moved():
    old = GuestOnHost("old", vcpus=1, memory_mib=512)
    fleet = [replace(HOSTS[0], vcpus_total=16, memory_mib_total=16384, guests=(old,)), *HOSTS[1:3]]
    apart = [replace(GUEST, uuid=f"n{n}", name=f"n{n}", hints={"different_host": "old"}) for n in range(2)]
    moved = replace(GUEST, uuid="old", name="old", current_host="c0", ignore_hosts=("c0",))
    decision = place(build_fleet(fleet), [apart[0], moved, apart[1]], Profile(), now_s=0.0)
    assert [placement.host for placement in decision.placements] == ["c1", "c2", "c0"]
