# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every fleet: order does not matter, nothing is overbooked, every host is accounted for."""

import random
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.placement import (
    Aggregate,
    Code,
    GuestOnHost,
    GuestRequest,
    Host,
    HostFilter,
    HostWeigher,
    Policy,
    Profile,
    Reason,
    Registry,
    ServerGroup,
    build_fleet,
    place,
)
from berth.placement.fleet import ALL
from berth.placement.registry import BUILT_IN
from berth.placement.scores import Scores
from berth.placement.shapes import Shape
from berth.placement.view import View

EVERYTHING = Profile(
    filters=tuple(BUILT_IN.filters),
    multipliers={"num_instances_weight_multiplier": -0.5, "image_props_weight_multiplier": 0.3},
)
METADATA = [
    {},
    {"availability_zone": "a"},
    {"ssd": "true", "ram_weight_multiplier": "-2.5"},
    {"max_io_ops_per_host": "3", "cpu_allocation_ratio": "2.0"},
    {"filter_tenant_id": "lab", "instance_type": "small,large"},
]
AGGREGATES = [Aggregate(f"g{number}", metadata) for number, metadata in enumerate(METADATA)]


@st.composite
def hosts(draw, least=0, most=8):
    count = draw(st.integers(least, most))
    found = []
    for number in range(count):
        guests = tuple(
            GuestOnHost(uuid=f"u{number}-{n}", flavor=draw(st.sampled_from(["small", "large"])), group=None)
            for n in range(draw(st.integers(0, 3)))
        )
        found.append(
            Host(
                name=f"c{number}",
                enabled=draw(st.integers(0, 9)) > 0,
                facts_at=draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, -1e9, None])),
                vcpus_total=draw(st.integers(0, 16)),
                memory_mib_total=draw(st.integers(0, 16384)),
                disk_mib_total=draw(st.integers(0, 65536)),
                vcpus_used=draw(st.integers(0, 8)),
                memory_mib_used=draw(st.integers(0, 2048)),
                cpu_allocation_ratio=draw(st.sampled_from([0.5, 1.0, 1.1, 4.0])),
                ram_allocation_ratio=draw(st.sampled_from([1.0, 1.5])),
                aggregates=tuple(draw(st.lists(st.sampled_from(AGGREGATES), max_size=3, unique_by=id))),
                guests=guests,
                num_io_ops=draw(st.integers(0, 9)),
                failed_builds=draw(st.integers(0, 2)),
                hypervisor_version=draw(st.sampled_from([None, 7002000, 10000000])),
            )
        )
    return found


@st.composite
def requests(draw, most=6):
    count = draw(st.integers(1, most))
    groups = [None, *(ServerGroup(policy.value, policy, {}, draw(st.integers(1, 2))) for policy in Policy)]
    return [
        GuestRequest(
            uuid=f"new-{number}",
            name=f"new-{number}",
            vcpus=draw(st.integers(1, 4)),
            memory_mib=draw(st.sampled_from([256, 1024, 4096])),
            disk_gib=draw(st.integers(0, 8)),
            flavor=draw(st.sampled_from(["small", "large"])),
            project=draw(st.sampled_from(["default", "lab"])),
            extra_specs=draw(st.sampled_from([{}, {}, {"ssd": "true"}, {"vcpus_total": ">= 2"}])),
            group=draw(st.sampled_from(groups)),
            ignore_hosts=tuple(draw(st.lists(st.sampled_from(["c0", "C1"]), max_size=1))),
            hints=draw(
                st.sampled_from(
                    [{}, {}, {"different_host": "new-0"}, {"same_host": "new-0"}, {"query": ["<", "$num_instances", 3]}]
                )
            ),
        )
        for number in range(count)
    ]


def outcome(decision):
    return decision.ok, decision.failed_index, [(p.request.uuid, p.host, p.alternates) for p in decision.placements]


slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(hosts(), requests(), st.randoms(use_true_random=False), st.sampled_from(["filter", "chance"]))
def test_the_order_of_the_hosts_changes_nothing(fleet, wanted, shuffler, scheduler):
    profile = replace(EVERYTHING, scheduler=scheduler)
    mixed = list(fleet)
    shuffler.shuffle(mixed)
    first = place(build_fleet(fleet), wanted, profile, now_s=0.0, seed=7)
    assert outcome(first) == outcome(place(build_fleet(mixed), wanted, profile, now_s=0.0, seed=7))


@slow
@given(hosts(least=1), requests())
def test_nothing_is_ever_overbooked(fleet, wanted):
    columns = build_fleet(fleet)
    decision = place(columns, wanted, Profile(), now_s=0.0)
    before = {host.name: host for host in fleet}
    view = View(columns, 0.0)
    for placement in decision.placements:
        view.book(columns.row_of[placement.host], placement.request, placement.pins)
        assert placement.host not in placement.alternates
        assert len(set(placement.alternates)) == len(placement.alternates) <= 2
    for name in {placement.host for placement in decision.placements}:
        after, limits = view.host(columns.row_of[name]), before[name].limits
        assert after.vcpus_used <= limits.vcpus and after.memory_mib_used <= limits.memory_mib
        assert after.disk_mib_used <= limits.disk_mib
        assert before[name].enabled and before[name].facts_at == 0.0
    assert decision.ok == bool(decision.placements)


@slow
@given(hosts(), requests())
def test_every_host_is_refused_or_weighed(fleet, wanted):
    columns = build_fleet(fleet)
    decision = place(columns, wanted, EVERYTHING, now_s=0.0)
    decided = len(wanted) if decision.ok else decision.failed_index + 1
    for index in range(decided):
        report = decision.explain(index)
        refused, weighed = [r.host for r in report.refused], [w.host for w in report.weighed]
        assert sorted([*refused, *weighed]) == columns.names
        assert all(refusal.reasons for refusal in report.refused)
        if index < len(decision.placements):
            assert report.weighed[0].host == decision.placements[index].host
            assert report.weighed[0].score == decision.placements[index].score
        for host in report.weighed:
            total = 0.0
            for share in host.shares:
                total += share.score
            assert host.score == total
    if not decision.ok:
        assert not decision.failure.report.weighed


@slow
@given(hosts(least=1), requests(most=12))
def test_what_is_kept_up_to_date_equals_what_is_computed_anew(fleet, wanted):
    """After each booking, a kept shape has the mask and the scores of one that is made from nothing."""
    view = View(build_fleet(fleet), 0.0)
    pipeline = EVERYTHING.pipeline
    shapes = [Shape(view, request, pipeline) for request in wanted]
    for request, shape in zip(wanted, shapes, strict=True):
        shape.refresh()
        if shape.scores.rows.size:
            view.book(int(shape.scores.rows[shape.scores.total.argmax()]), request)
    for request, shape in zip(wanted, shapes, strict=True):
        shape.refresh()
        anew = Shape(view, request, pipeline)
        assert shape.scores.rows.tolist() == anew.scores.rows.tolist()
        assert shape.scores.total.tolist() == anew.scores.total.tolist()


@slow
@given(hosts(least=1), requests(most=1), st.integers(0, 7))
def test_booking_and_releasing_is_nothing(fleet, wanted, number):
    columns = build_fleet(fleet)
    row, request = number % columns.size, wanted[0]
    view = View(columns, 0.0)
    view.book(row, request)
    after = view.host(row)
    needs, last = request.needs, after.guests[-1]
    assert last.uuid == request.uuid
    released = replace(
        after,
        vcpus_used=after.vcpus_used - needs.vcpus,
        memory_mib_used=after.memory_mib_used - needs.memory_mib,
        disk_mib_used=after.disk_mib_used - needs.disk_mib,
        num_io_ops=after.num_io_ops - 1,
        guests=after.guests[:-1],
    )
    assert released == columns.hosts[row]
    assert all(np.array_equal(getattr(columns, name), getattr(build_fleet(fleet), name)) for name in ("vcpus_used",))


class RamOneAtATime(HostFilter):
    def host_passes(self, host, request):
        free = host.memory_mib_total * host.ram_allocation_ratio - host.memory_mib_used - host.reserved_host_memory_mib
        if request.memory_mib <= min(free, host.memory_mib_total):
            return None
        return Reason(Code.PLUGIN, "too little memory", free, request.memory_mib, "MiB")


class GuestsOneAtATime(HostWeigher):
    multiplier_option = "guests_one_at_a_time_multiplier"
    default_multiplier = -0.5

    def weigh_host(self, host, request):
        return len(host.guests)


@slow
@given(hosts(least=1), requests())
def test_columns_and_one_host_at_a_time_agree(fleet, wanted):
    registry = BUILT_IN.extended([RamOneAtATime, GuestsOneAtATime])
    assert isinstance(registry, Registry)
    columns = Profile(
        filters=("RamFilter",), weighers=("NumInstancesWeigher",), multipliers={"num_instances_weight_multiplier": -0.5}
    )
    lifted = Profile(filters=("RamOneAtATime",), weighers=("GuestsOneAtATime",), registry=registry)
    table = build_fleet(fleet)
    first, second = (place(table, wanted, profile, now_s=0.0) for profile in (columns, lifted))
    assert outcome(first) == outcome(second)


def test_a_random_profile_needs_no_seed_and_repeats_itself():
    fleet = build_fleet([Host(f"c{n}", facts_at=0.0, vcpus_total=8, memory_mib_total=8192) for n in range(20)])
    wanted = [GuestRequest(uuid=f"u{n}", name=f"u{n}", vcpus=1, memory_mib=64) for n in range(8)]
    for profile in (
        Profile(scheduler="chance"),
        Profile(host_subset_size=5),
        Profile(shuffle_best_same_weighed_hosts=True),
    ):
        found = {
            tuple(p.host for p in place(fleet, wanted, profile, now_s=0, seed=seed).placements) for seed in range(5)
        }
        assert len(found) > 1, "the seed decides nothing"
        again = [outcome(place(fleet, wanted, profile, now_s=0)) for _ in range(2)]
        assert again[0] == again[1]


def test_subset_picks_among_the_best_only():
    table = [Host(f"c{n}", facts_at=0.0, vcpus_total=8, memory_mib_total=4096 + 1024 * n) for n in range(6)]
    wanted = [GuestRequest(uuid="u", name="u", vcpus=1, memory_mib=64)]
    picked = {
        place(build_fleet(table), wanted, Profile(host_subset_size=2), now_s=0, seed=seed).placements[0].host
        for seed in range(random.Random(1).randint(40, 60))
    }
    assert picked == {"c5", "c4"}


def test_scores_of_one_host_are_not_weighed():
    view = View(build_fleet([Host("c1", facts_at=0.0, vcpus_total=8, memory_mib_total=8192)]), 0.0)
    scores = Scores(view, GuestRequest(uuid="u", name="u", vcpus=1, memory_mib=64), None, Profile().pipeline.weighers)
    assert scores.total.tolist() == [0.0] and not scores.columns
    assert isinstance(ALL, slice)
