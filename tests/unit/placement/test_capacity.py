# SPDX-License-Identifier: GPL-3.0-or-later
"""How many more fit, what is stranded, what survives; and what nearly fits."""

from dataclasses import replace

import pytest

from berth.errors import InvalidInput
from berth.placement import (
    Aggregate,
    GuestOnHost,
    GuestRequest,
    Host,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    capacity,
    place,
    survival,
)
from berth.placement.devices import NumaCell, PagePool, PciDevice
from berth.placement.pci import PciAlias
from berth.placement.profile import Options
from berth.placement.simulate import hosts_after

HOST = Host(
    "c1",
    facts_at=0.0,
    vcpus_total=4,
    cpu_allocation_ratio=1.0,
    memory_mib_total=8704,
    disk_mib_total=102400,
    availability_zone="a",
)
SMALL = GuestRequest(uuid="f", name="f", flavor="small", vcpus=1, memory_mib=1024, disk_gib=1)


def count_by_placing(fleet, request, profile):
    for count in range(1, 100):
        guests = [replace(request, uuid=f"{n}", name=f"{n}") for n in range(count)]
        if not place(fleet, guests, profile, now_s=0.0).ok:
            return count - 1
    raise AssertionError("too many fit")


FLEET = [
    HOST,
    replace(HOST, name="c2", vcpus_total=16, availability_zone="b", aggregates=(Aggregate("fast"),)),
    replace(HOST, name="c3", enabled=False),
    replace(HOST, name="c4", vcpus_used=3, memory_mib_used=8000),
]


@pytest.mark.parametrize("filters", [(), ("NumInstancesFilter", "IoOpsFilter"), ("AggregateNumInstancesFilter",)])
def test_counts_are_what_placing_gives(filters):
    fleet = build_fleet(FLEET)
    profile = Profile(filters=filters).with_options(max_instances_per_host=5)
    (found,) = capacity(fleet, [SMALL], profile, now_s=0.0)
    no_io = Profile(filters=tuple(name for name in filters if name != "IoOpsFilter"), options=profile.options)
    assert found.total == count_by_placing(fleet, SMALL, no_io) == sum(found.by_host.values())
    assert found.by_host["c3"] == 0 and found.by_zone["a"] + found.by_zone["b"] == found.total


def test_zones_aggregates_and_what_is_stranded():
    (found,) = capacity(build_fleet(FLEET), [SMALL], Profile(), now_s=0.0)
    assert found.by_host == {"c1": 4, "c2": 8, "c3": 0, "c4": 0}
    assert found.by_zone == {"a": 4, "b": 8} and found.by_aggregate == {"fast": 8}
    stranded = {left.resource: left for left in found.stranded}
    assert stranded["memory"].hosts == 2 and stranded["memory"].vcpus == 9
    assert stranded["vCPUs"].hosts == 1 and stranded["vCPUs"].memory_mib == 4096
    lines = found.lines()
    assert lines[0] == "small: 12 more" and any("█" * 40 in line and line.endswith(" 8") for line in lines)
    assert found.to_dict()["total"] == 12


CELL = NumaCell(0, 8192, frozenset(range(4)), frozenset(range(4, 8)), pages=(PagePool(4, 1 << 20), PagePool(2048, 512)))
GPU = PciDevice("0000:3b:00.0", "10de", "1eb8")
OPTIONS = Options(pci_aliases={"gpu": PciAlias("gpu", "10de", "1eb8")}, max_instances_per_host=2)
RUN_OUT = {
    "dedicated CPUs": ({"vcpus": 2, "extra_specs": {"hw:cpu_policy": "dedicated"}}, (), 2, "dedicated CPUs"),
    "huge pages": ({"memory_mib": 512, "extra_specs": {"hw:mem_page_size": "2048"}}, (), 2, "huge pages"),
    "memory of a cell": ({"memory_mib": 4096, "extra_specs": {"hw:numa_nodes": "1"}}, (), 2, "memory"),
    "CPUs of a cell": ({"vcpus": 4, "memory_mib": 64, "extra_specs": {"hw:numa_nodes": "1"}}, (), 1, "vCPUs"),
    "devices": ({"extra_specs": {"pci_passthrough:alias": "gpu:1"}}, (), 1, "PCI devices"),
    "guests": ({}, ("NumInstancesFilter",), 2, "max_instances_per_host"),
}


@pytest.mark.parametrize(("asked", "filters", "count", "resource"), RUN_OUT.values(), ids=RUN_OUT)
def test_what_runs_out_first_is_named_whatever_it_is(asked, filters, count, resource):
    host = replace(HOST, vcpus_total=16, numa_cells=(CELL,), pci_devices=(GPU,))
    if resource == "vCPUs":
        host = replace(host, vcpus_total=4)
    profile = Profile(filters=filters, options=OPTIONS)
    (found,) = capacity(build_fleet([host]), [replace(SMALL, **asked)], profile, now_s=0.0)
    (left,) = found.stranded
    assert (found.total, left.resource, left.hosts) == (count, resource, 1)
    # The same where it has run out already: then nothing more fits, for the same reason.
    full = [replace(SMALL, **asked, uuid=f"g{n}", name=f"g{n}") for n in range(count)]
    hosts = hosts_after([host], place(build_fleet([host]), full, profile, now_s=0.0).placements)
    (found,) = capacity(build_fleet(hosts), [replace(SMALL, **asked)], profile, now_s=0.0)
    assert (found.total, [one.resource for one in found.stranded]) == (0, [resource])


def test_a_filter_without_a_resource_is_named_itself():
    host = loaded("c1", replace(guest("a", 64), flavor="other"))
    (found,) = capacity(build_fleet([host]), [SMALL], Profile(filters=("TypeAffinityFilter",)), now_s=0.0)
    assert (found.total, [left.resource for left in found.stranded]) == (0, ["TypeAffinityFilter"])


def test_what_a_host_never_had_does_not_run_out():
    bare = replace(HOST, name="c2", numa_cells=(replace(CELL, dedicated_cpus=frozenset(), pages=()),))
    for specs in ({"hw:cpu_policy": "dedicated"}, {"hw:mem_page_size": "2048"}, {"pci_passthrough:alias": "gpu:1"}):
        wanted = replace(SMALL, extra_specs=specs)
        (found,) = capacity(build_fleet([bare]), [wanted], Profile(filters=(), options=OPTIONS), now_s=0.0)
        assert (found.total, found.stranded) == (0, ())


UNUSABLE = {
    "no facts": {"facts_at": None},
    "stale": {"facts_at": -1e9},
    "unreachable": {"reachable": False},
    "disabled": {"enabled": False},
    "another zone's": {"availability_zone": "b"},
}


@pytest.mark.parametrize("changes", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("filters", [("AvailabilityZoneFilter",), ("AvailabilityZoneFilter", "NumInstancesFilter")])
def test_hosts_that_cannot_be_used_strand_nothing(changes, filters):
    full = replace(HOST, memory_mib_used=8000)
    fleet = build_fleet([full, replace(full, name="c2", **changes)])
    (found,) = capacity(fleet, [replace(SMALL, availability_zone="a")], Profile(filters=filters), now_s=0.0)
    assert [(left.resource, left.hosts) for left in found.stranded] == [("memory", 1)]


def test_pinned_flavors_count_pinned_cpus():
    host = replace(HOST, numa_cells=(NumaCell(0, 8192, frozenset(), frozenset(range(7))),))
    pinned = replace(SMALL, vcpus=2, extra_specs={"hw:cpu_policy": "dedicated"})
    (found,) = capacity(build_fleet([host]), [pinned], Profile(), now_s=0.0)
    assert found.total == 3


def test_an_empty_fleet_has_no_capacity():
    (found,) = capacity(build_fleet([]), [SMALL], Profile(), now_s=0.0)
    assert found.total == 0 and found.lines() == ["small: 0 more"]


def guest(name, memory_mib, group=None):
    return GuestOnHost(uuid=name, name=name, vcpus=1, memory_mib=memory_mib, group=group)


def loaded(name, *guests, **changes):
    return replace(
        HOST,
        name=name,
        guests=guests,
        vcpus_used=sum(g.vcpus for g in guests),
        memory_mib_used=sum(g.memory_mib for g in guests),
        **changes,
    )


def test_survival_of_each_host():
    fleet = build_fleet(
        [
            loaded("c1", guest("a", 4096), guest("b", 4096)),
            loaded("c2", guest("c", 2048)),
            loaded("c3", guest("d", 2048)),
        ]
    )
    found = {s.host: s for s in survival(fleet, {}, Profile(), now_s=0.0)}
    assert (found["c1"].guests, found["c1"].restarted) == (2, 2)
    tight = build_fleet([*fleet.hosts[:2]])
    found = {s.host: s for s in survival(tight, {}, Profile(), now_s=0.0)}
    assert (found["c1"].restarted, found["c1"].lost) == (1, ("b",))
    assert found["c2"].lost == ("c",)


def test_survival_respects_groups():
    groups = {"g": ServerGroup("g", Policy.ANTI_AFFINITY, {"a": "c1", "b": "c2"})}
    fleet = build_fleet([loaded("c1", guest("a", 64, "g")), loaded("c2", guest("b", 64, "g"))])
    assert [s.lost for s in survival(fleet, groups, Profile(), now_s=0.0)] == [("a",), ("b",)]


def hints(fleet, **changes):
    request = replace(SMALL, **changes)
    return place(build_fleet(fleet), [request], Profile(), now_s=0.0).failure.report.hints


def test_nearest_miss_by_amount_and_by_ratio():
    fleet = [loaded(f"c{n}", guest(f"g{n}", 6000 - 100 * n)) for n in range(1, 4)]
    assert hints(fleet, memory_mib=3000) == (
        "would fit with 508 MiB memory more on c3",
        "would fit on 3 hosts (c1, c2, c3) with ram_allocation_ratio 1.1",
    )
    assert hints(fleet, memory_mib=5000, vcpus=4)[0] == "would fit with 2508 MiB memory and 1 vCPUs more on c3"


def test_the_old_amount_filters_do_not_hide_the_nearest_miss():
    profile = Profile(filters=(*Profile().filters, "RamFilter", "AggregateCoreFilter"))
    request = replace(SMALL, memory_mib=8193)
    failure = place(build_fleet([HOST]), [request], profile, now_s=0.0).failure
    assert failure.report.hints[0] == "would fit with 1 MiB memory more on c1"


def test_nearest_miss_by_size():
    assert hints([HOST], vcpus=9) == ("no host is large enough as a whole: the largest lacks 5 vCPUs",)


def test_nearest_miss_by_filter():
    fleet = [HOST, replace(HOST, name="c2"), replace(HOST, name="c3", enabled=False)]
    assert hints(fleet, availability_zone="b") == ("AvailabilityZoneFilter alone keeps it off 2 hosts (c1, c2)",)


def test_the_error_carries_the_hint():
    decision = place(build_fleet([HOST]), [replace(SMALL, memory_mib=8193)], Profile(), now_s=0.0)
    assert decision.error().hint == "would fit with 1 MiB memory more on c1"


BAD_FLAVORS = {
    "operator": ({"extra_specs": {"capabilities:vcpus_total": ">= many"}}, "needs a number"),
    "pinning": ({"extra_specs": {"hw:cpu_policy": "pinned"}}, "allowed: shared, dedicated, mixed"),
    "amount": ({"memory_mib": -1}, "memory_mib: found -1"),
}


@pytest.mark.parametrize(("change", "text"), BAD_FLAVORS.values(), ids=BAD_FLAVORS)
def test_mistakes_in_a_flavor_are_told(change, text):
    with pytest.raises(InvalidInput, match="guest f") as caught:
        capacity(build_fleet([HOST]), [replace(SMALL, **change)], Profile(), now_s=0.0)
    assert text in str(caught.value)
