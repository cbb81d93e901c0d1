# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every fleet: order does not matter, nothing is overbooked, every host is accounted for."""

import importlib.util
import itertools
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.placement import (
    Filter,
    GuestRequest,
    Host,
    HostFilter,
    HostWeigher,
    Profile,
    Reads,
    build_fleet,
    place,
)
from berth.placement.engine import place_what_fits
from berth.placement.fleet import ALL
from berth.placement.outcome import pins_on
from berth.placement.registry import BUILT_IN, FILTERS, FIRST, LAST, WEIGHERS
from berth.placement.scores import Scores
from berth.placement.shapes import Shape
from berth.placement.view import View, one_row


def _strategies():
    path = Path(__file__).with_name("strategies.py")
    spec = importlib.util.spec_from_file_location("berth_placement_strategies", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


random_fleets = _strategies()
hosts, requests = random_fleets.hosts, random_fleets.requests
MOST, DEFAULT, PROFILES = random_fleets.MOST, random_fleets.DEFAULT, random_fleets.PROFILES


def outcome(decision):
    return decision.ok, decision.failed_index, [(p.request.uuid, p.host, p.alternates) for p in decision.placements]


slow = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(hosts(least=1), requests(), st.randoms(use_true_random=False), PROFILES, st.sampled_from(["filter", "chance"]))
def test_the_order_of_the_hosts_changes_nothing(fleet, wanted, shuffler, profile, scheduler):
    profile = replace(profile, scheduler=scheduler)
    mixed = list(fleet)
    shuffler.shuffle(mixed)
    first = place(build_fleet(fleet), wanted, profile, now_s=0.0, seed=7)
    assert outcome(first) == outcome(place(build_fleet(mixed), wanted, profile, now_s=0.0, seed=7))


@slow
@given(hosts(least=1), requests())
def test_nothing_is_ever_overbooked(fleet, wanted):
    columns = build_fleet(fleet)
    decision = place(columns, wanted, DEFAULT, now_s=0.0)
    before = {host.name: host for host in fleet}
    view = View(columns, 0.0)
    for placement in decision.placements:
        view.book(columns.row_of[placement.host], placement.request, placement.pins)
        host = before[placement.host]
        assert placement.request.force_host or (host.facts_at == 0.0 and host.reachable)
        assert placement.host not in placement.alternates
        assert len(set(placement.alternates)) == len(placement.alternates) <= 2
    for name in {placement.host for placement in decision.placements}:
        after, limits = view.host(columns.row_of[name]), before[name].limits
        assert after.vcpus_used <= limits.vcpus and after.memory_mib_used <= limits.memory_mib
        assert after.disk_mib_used <= limits.disk_mib
        assert before[name].enabled and not before[name].quarantined and before[name].facts_at is not None
    assert decision.ok == bool(decision.placements)


@slow
@given(hosts(least=1), requests(), PROFILES)
def test_every_host_is_refused_or_weighed(fleet, wanted, profile):
    columns = build_fleet(fleet)
    decision = place(columns, wanted, profile, now_s=0.0)
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
@given(hosts(least=1), requests(most=12), PROFILES)
def test_what_is_kept_up_to_date_equals_what_is_computed_anew(fleet, wanted, profile):
    """After each booking, a kept shape has the mask and the scores of one that is made from nothing."""
    view = View(build_fleet(fleet), 0.0)
    pipeline = profile.pipeline
    shapes = [Shape(view, request, pipeline) for request in wanted]
    for turn, request in enumerate(wanted):
        shapes[turn].refresh()
        if shapes[turn].scores.rows.size:
            view.book(int(shapes[turn].scores.rows[shapes[turn].scores.total.argmax()]), request)
        for other in wanted[:: 1 + turn % 3]:  # some are brought up to date often, others after many bookings
            shape = shapes[wanted.index(other)]
            shape.refresh()
            anew = Shape(view, other, pipeline)
            assert shape.scores.rows.tolist() == anew.scores.rows.tolist()
            assert shape.scores.total.tolist() == anew.scores.total.tolist()


def one_after_the_other(fleet, wanted, profile):
    """Returns each guest's host and score, or None, each placed on its own on a fleet that has the guests before."""
    now = {host.name: host for host in fleet}
    members = {request.group.name: dict(request.group.members) for request in wanted if request.group}
    for request in wanted:
        if request.group:
            request = replace(request, group=replace(request.group, members=dict(members[request.group.name])))
        columns = build_fleet(now.values())
        decision = place(columns, [request], profile, now_s=0.0)
        if not decision.ok:
            yield None
            continue
        (placement,) = decision.placements
        view, row = View(columns, 0.0), columns.row_of[placement.host]
        view.book(row, request, placement.pins)
        now[placement.host] = view.host(row)
        if request.group:
            members[request.group.name][request.uuid] = placement.host
        yield placement.host, placement.score


@settings(slow, max_examples=300)
@given(hosts(least=2), random_fleets.batches(), st.sampled_from([MOST, DEFAULT]))
def test_a_batch_is_placed_as_its_guests_one_after_the_other(fleet, wanted, profile):
    table = build_fleet(fleet)
    single = list(one_after_the_other(fleet, wanted, profile))
    assert place_what_fits(table, wanted, profile, now_s=0.0) == [found and found[0] for found in single]
    decision = place(table, wanted, profile, now_s=0.0)
    assert decision.failed_index == (single.index(None) if None in single else None)
    if decision.ok:
        assert [(placement.host, placement.score) for placement in decision.placements] == single


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
        disk_free_mib_measured=columns.hosts[row].disk_free_mib_measured,  # it is 0 at the least
        num_io_ops=after.num_io_ops - 1,
        guests=after.guests[:-1],
    )
    assert released == columns.hosts[row]
    assert all(np.array_equal(getattr(columns, name), getattr(build_fleet(fleet), name)) for name in ("vcpus_used",))


RULES = [kind(random_fleets.OPTIONS) for kind in dict.fromkeys((*FIRST, *FILTERS, *LAST))]
WEIGH = [kind(random_fleets.OPTIONS) for kind in WEIGHERS]
# What a weigher that found all hosts alike, and so gave no column, would have said of one.
ALIKE = {
    "BuildFailureWeigher": lambda host: host.failed_builds,
    "HypervisorVersionWeigher": lambda host: host.hypervisor_version or 0,
    "PCIWeigher": lambda host: 100,
}


def booked(fleet, wanted):
    """Returns a view with half of the guests booked on hosts that take them, and what the rest asks for."""
    view, count = View(build_fleet(fleet), 0.0), (len(wanted) + 1) // 2
    for request in wanted[:count]:
        shape = Shape(view, request, DEFAULT.pipeline)
        if shape.scores.rows.size:
            row = int(shape.scores.rows[-1])
            view.book(row, request, pins_on(view, row, request, DEFAULT.options))
    return view, wanted[count:]


def alone(view, row, request):
    """Returns a view of one host as it is now, and the request with its group as it is now."""
    group = request.group
    if group is not None:
        here = {uuid: view.fleet.names[at] for uuid, at in view.rows_of_booked.items()}
        ours = {guest.uuid for guests in view.booked.values() for guest in guests if guest.group == group.name}
        members = {**group.members, **{uuid: here[uuid] for uuid in ours}}
        request = replace(request, group=replace(group, members=members))
    return View(build_fleet([view.host(row)]), 0.0), request


@slow
@given(hosts(least=1), requests())
def test_columns_after_bookings_are_those_of_the_hosts_after_bookings(fleet, wanted):
    view, _ = booked(fleet, wanted)
    anew = build_fleet(view.host(row) for row in range(view.fleet.size)).usage
    for name, column in vars(view.usage).items():
        assert column.tolist() == getattr(anew, name).tolist(), name


@settings(slow, max_examples=60)
@given(hosts(least=1, most=5), requests())
def test_a_filter_s_verdict_on_a_host_is_the_same_among_others_and_alone(fleet, wanted):
    view, rest = booked(fleet, wanted)
    for rule, request in itertools.product(RULES, rest):
        whole = rule.passes(view, request, ALL)
        column = np.ones(view.fleet.size, dtype=bool) if whole is None else whole
        for row in range(view.fleet.size):
            single = rule.passes(view, request, one_row(row))
            assert (single is None) == (whole is None) and (single is None or single.tolist() == [column[row]]), rule
            own, its_request = alone(view, row, request)
            verdict = rule.passes(own, its_request, ALL)
            assert (verdict is None or bool(verdict[0])) == column[row], (rule.name, row)
            if not column[row]:
                assert rule.reasons(view, request, row) == rule.reasons(own, its_request, 0), rule.name


@slow
@given(hosts(least=1, most=5), requests())
def test_a_weigher_s_number_of_a_host_is_the_same_among_others_and_alone(fleet, wanted):
    view, rest = booked(fleet, wanted)
    for weigher, request in itertools.product(WEIGH, rest):
        whole = weigher.raw(view, request, ALL)
        for row in range(view.fleet.size):
            single = weigher.raw(view, request, one_row(row))
            assert (single is None) == (whole is None), weigher.name
            own, its_request = alone(view, row, request)
            raw = weigher.raw(own, its_request, ALL)
            if whole is None:
                assert raw is None, weigher.name
                continue
            assert single.tolist() == [whole[row]], weigher.name
            found = ALIKE[weigher.name](own.fleet.hosts[0]) if raw is None else raw[0]
            least = -np.inf if weigher.minval is None else weigher.minval
            assert max(found, least) == max(whole[row], least), (weigher.name, row)


def lifted(kind):
    """Returns the filter or weigher in the other shape: it builds a fleet of the one host and asks about that."""

    def host_passes(self, host, request):
        view = View(build_fleet([host]), 0.0)
        rule = kind(self.options)
        mask = rule.passes(view, request, ALL)
        return None if mask is None or mask[0] else rule.reasons(view, request, 0)[0]

    def weigh_host(self, host, request):
        raw = kind(self.options).raw(View(build_fleet([host]), 0.0), request, ALL)
        return ALIKE.get(kind.__name__, lambda host: 0.0)(host) if raw is None else raw[0]

    if issubclass(kind, Filter):
        return type(f"Lifted{kind.__name__}", (HostFilter,), {"host_passes": host_passes})
    same = {name: getattr(kind, name) for name in ("multiplier_option", "default_multiplier", "minval", "sign")}
    return type(f"Lifted{kind.__name__}", (HostWeigher,), {"weigh_host": weigh_host, **same})


# Those that read where other guests are know more than the host that the other shape is given.
LIFTED_FILTERS = [kind for kind in FILTERS if "Group" not in kind.__name__ and kind.reads != Reads.BATCH]
LIFTED_WEIGHERS = [kind for kind in WEIGHERS if "Group" not in kind.__name__ and kind.__name__ != "CrossCellWeigher"]


@settings(slow, max_examples=100)
@given(hosts(least=1, most=5), requests(most=4), st.sampled_from(LIFTED_FILTERS), st.sampled_from(LIFTED_WEIGHERS))
def test_columns_and_one_host_at_a_time_agree(fleet, wanted, rule, weigher):
    wanted = [replace(request, group=None) for request in wanted]
    others = (lifted(rule), lifted(weigher))
    columns = Profile(filters=(rule.__name__,), weighers=(weigher.__name__,), options=random_fleets.OPTIONS)
    columns = replace(columns, multipliers={weigher.multiplier_option: weigher.default_multiplier or -0.5})
    names = {"filters": (others[0].__name__,), "weighers": (others[1].__name__,)}
    single = replace(columns, **names, registry=BUILT_IN.extended(others))
    table = build_fleet(fleet)
    first, second = (place(table, wanted, profile, now_s=0.0) for profile in (columns, single))
    assert outcome(first) == outcome(second)
    assert [p.score for p in first.placements] == [p.score for p in second.placements]


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
