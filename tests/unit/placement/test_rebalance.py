# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebalancing: every move lowers the imbalance, every state on the way is allowed, and it stops."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.placement import (
    GuestOnHost,
    Host,
    Limits,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    imbalance,
    rebalance,
)
from berth.placement.pinning import Pins
from berth.placement.rebalance import _moved

HOST = Host("c1", facts_at=0.0, vcpus_total=16, memory_mib_total=16896, disk_mib_total=102400)


def loaded(name, *guests, **changes):
    return replace(
        HOST,
        name=name,
        guests=guests,
        vcpus_used=sum(g.vcpus for g in guests),
        memory_mib_used=sum(g.memory_mib for g in guests),
        disk_mib_used=sum(g.disk_mib for g in guests),
        **changes,
    )


def guest(name, memory_mib=2048, **changes):
    return GuestOnHost(uuid=name, name=name, vcpus=2, memory_mib=memory_mib, disk_mib=1024, **changes)


def moves(hosts, groups=None, **options):
    plan = rebalance(hosts, groups or {}, Profile(), now_s=0.0, **options)
    return [(move.guest, move.source, move.destination) for move in plan.moves]


def test_an_uneven_pair_becomes_even():
    fleet = [loaded("c1", *(guest(f"g{n}") for n in range(4))), loaded("c2")]
    plan = rebalance(fleet, {}, Profile(), now_s=0.0)
    assert [(m.source, m.destination) for m in plan.moves] == [("c1", "c2")] * 2
    assert plan.imbalance_before == imbalance(build_fleet(fleet)) > plan.imbalance_after == 0.0
    assert plan.to_dict()["moves"][0]["destination"] == "c2"


def test_an_even_fleet_is_left_alone():
    assert moves([loaded("c1", guest("a")), loaded("c2", guest("b"))]) == []
    assert moves([]) == [] and moves([loaded("c1", guest("a"))]) == []


def test_it_stops_at_the_threshold_and_at_the_most_moves():
    fleet = [loaded("c1", *(guest(f"g{n}") for n in range(8))), loaded("c2")]
    assert len(moves(fleet, limits=Limits(most_moves=1))) == 1
    assert moves(fleet, limits=Limits(least_gain=9.0)) == []


HOT = {"one": lambda size: 1, "one in ten": lambda size: size // 10}


@pytest.mark.parametrize("hot", HOT.values(), ids=HOT)
def test_what_is_worth_a_move_does_not_depend_on_the_size_of_the_fleet(hot):
    """Each move of the first ten is as useful in a large fleet as in a small one."""
    found = []
    for size in (100, 300, 500):
        full, others = hot(size), range(size - hot(size))
        fleet = [loaded(f"a{n:03}", *(guest(f"a{n}-{g}", 1024) for g in range(16))) for n in range(full)]
        fleet += [loaded(f"b{n:03}", *(guest(f"b{n}-{g}", 1024) for g in range(5))) for n in others]
        found.append(len(moves(fleet)))
    assert found == [10, 10, 10]


def test_the_least_gain_is_a_part_of_what_a_host_has_of_the_imbalance():
    fleet = [loaded("c1", *(guest(f"g{n}") for n in range(4))), loaded("c2")]
    plan = rebalance(fleet, {}, Profile(), now_s=0.0, limits=Limits(most_moves=1))
    share = (plan.imbalance_before - plan.imbalance_after) / (plan.imbalance_before / 2)
    assert len(moves(fleet, limits=Limits(share - 0.01, 1))) == 1
    assert moves(fleet, limits=Limits(share + 0.01, 1)) == []


def test_what_may_not_move_stays():
    pinned = guest("a", pins=Pins(pci_addresses=("0000:00:01.0",)))
    fleet = [loaded("c1", pinned, guest("b", state="building"), guest("c", state="shutdown")), loaded("c2")]
    assert moves(fleet) == []


def test_groups_zones_and_disabled_hosts_hold():
    fleet = [loaded("c1", guest("a", group="g"), guest("b", group="g")), loaded("c2")]
    together = {"g": ServerGroup("g", Policy.AFFINITY, {"a": "c1", "b": "c1"})}
    assert moves(fleet, together) == []
    apart = {"g": ServerGroup("g", Policy.ANTI_AFFINITY, {"a": "c1", "x": "c2"})}
    assert (
        moves([loaded("c1", guest("a", group="g"), guest("b")), loaded("c2", guest("x", 64, group="g"))], apart) != []
    )
    assert moves([loaded("c1", guest("a"), guest("b")), loaded("c2", enabled=False)]) == []
    assert (
        moves([loaded("c1", guest("a"), guest("b"), availability_zone="a"), loaded("c2", availability_zone="b")]) == []
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.sampled_from([256, 1024, 4096]), max_size=5), min_size=1, max_size=5))
def test_no_state_on_the_way_is_overbooked_and_each_move_gains(sizes):
    fleet = [loaded(f"c{n}", *(guest(f"g{n}-{m}", size) for m, size in enumerate(row))) for n, row in enumerate(sizes)]
    plan = rebalance(fleet, {}, Profile(), now_s=0.0, limits=Limits(0.001, 6))
    before, hosts = plan.imbalance_before, fleet
    for move in plan.moves:
        there = next(g for host in hosts for g in host.guests if g.uuid == move.uuid)
        destination = next(host for host in hosts if host.name == move.destination)
        assert destination.memory_mib_used + there.memory_mib <= destination.limits.memory_mib
        hosts = list(_moved(hosts, there, move.source, move.destination))
        after = imbalance(build_fleet(hosts))
        assert abs(after - move.imbalance_after) < 1e-9 and before - after >= 0.001 * before / len(hosts) - 1e-9
        before = after
