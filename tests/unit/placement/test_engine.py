# SPDX-License-Identifier: GPL-3.0-or-later
"""place(): batches, alternates, refusals, and what is wrong with the input."""

from dataclasses import replace

import pytest

from berth.errors import InvalidInput, NoValidHost
from berth.placement import (
    Aggregate,
    GuestRequest,
    Host,
    HostWeigher,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    place,
)
from berth.placement.registry import BUILT_IN

HOST = Host("c1", facts_at=0.0, vcpus_total=8, memory_mib_total=8704, disk_mib_total=102400)
WEB = GuestRequest(uuid="web", name="web", vcpus=1, memory_mib=4096, disk_gib=1)


def hosts(count, **changes):
    return [replace(HOST, name=f"c{number}", **changes) for number in range(1, count + 1)]


def guests(count, **changes):
    return [replace(WEB, uuid=f"web-{n}", name=f"web-{n}", **changes) for n in range(1, count + 1)]


def placed(fleet, requests, profile=None, **options):
    decision = place(build_fleet(fleet), requests, profile or Profile(), now_s=0.0, **options)
    return [placement.host for placement in decision.placements]


def test_ties_go_to_the_first_name_and_guests_spread():
    assert placed(reversed(hosts(3)), guests(4)) == ["c1", "c2", "c3", "c1"]


def test_a_negative_multiplier_packs():
    profile = Profile(multipliers={f"{what}_weight_multiplier": -1.0 for what in ("ram", "cpu", "disk")})
    profile = replace(profile, weighers=("RAMWeigher", "CPUWeigher", "DiskWeigher"))
    assert placed(hosts(3), guests(3), profile) == ["c1", "c1", "c2"]


def test_all_or_nothing():
    decision = place(build_fleet(hosts(2)), guests(5), Profile(), now_s=0.0)
    assert not decision.ok and decision.placements == () and decision.failed_index == 4
    failure = decision.failure
    assert failure.index == 4 and failure.request.name == "web-5"
    assert [(r.host, r.filter) for r in failure.report.refused] == [("c1", "Resources"), ("c2", "Resources")]
    with pytest.raises(IndexError):
        place(build_fleet(hosts(1)), guests(5), Profile(), now_s=0.0).explain(4)


def test_the_error_names_every_host_with_numbers():
    fleet = [*hosts(2), replace(HOST, name="c3", enabled=False, disabled_reason="new disk")]
    decision = place(build_fleet(fleet), guests(5), Profile(), now_s=0.0)
    error = decision.error()
    assert isinstance(error, NoValidHost)
    assert str(error) == (
        "guest web-5: none of 3 hosts can take it (memory 2, disabled 1); it is number 5 of 5 and none was placed"
    )
    assert error.details[:3] == (
        "c1: Resources: memory: need 4096 MiB, have 0 MiB of 8192 MiB for guests",
        "c2: Resources: memory: need 4096 MiB, have 0 MiB of 8192 MiB for guests",
        "c3: ComputeFilter: disabled: new disk",
    )
    refused = error.data["report"]["refused"]
    assert refused[0]["reasons"][0] == {
        "code": "memory",
        "text": "memory: need 4096 MiB, have 0 MiB of 8192 MiB for guests",
        "have": 0,
        "need": 4096,
        "unit": "MiB",
    }


def test_no_error_when_all_is_well():
    with pytest.raises(ValueError, match="there is no error"):
        place(build_fleet(hosts(1)), [WEB], Profile(), now_s=0.0).error()


def test_an_empty_fleet_says_so():
    decision = place(build_fleet([]), [WEB], Profile(), now_s=0.0)
    assert "there are no hosts" in str(decision.error()) and "inventory" in decision.error().hint


def test_nothing_to_place_is_fine():
    assert place(build_fleet([]), [], Profile(), now_s=0.0).ok


def test_alternates_are_others_best_first():
    decision = place(build_fleet(hosts(4)), [WEB], Profile(), now_s=0.0)
    assert decision.placements[0].alternates == ("c2", "c3")


def test_alternates_leave_the_batch_s_hosts_for_last():
    decision = place(build_fleet(hosts(4)), guests(2), Profile(), now_s=0.0)
    assert [p.alternates for p in decision.placements] == [("c3", "c4"), ("c3", "c4")]
    small = place(build_fleet(hosts(2)), guests(2), Profile(), now_s=0.0)
    assert [(p.host, p.alternates) for p in small.placements] == [("c1", ("c2",)), ("c2", ("c1",))]


def test_alternates_have_room_once_all_are_placed():
    decision = place(build_fleet(hosts(2)), guests(4), Profile(), now_s=0.0)
    assert [p.alternates for p in decision.placements] == [()] * 4


def test_max_attempts_one_means_no_alternate():
    decision = place(build_fleet(hosts(3)), [WEB], Profile(max_attempts=1), now_s=0.0)
    assert decision.placements[0].alternates == ()


def group(policy, **members):
    return ServerGroup("g", policy, members)


def test_anti_affinity_counts_within_the_batch():
    wanted = guests(3, group=group(Policy.ANTI_AFFINITY))
    assert sorted(placed(hosts(3), wanted)) == ["c1", "c2", "c3"]
    decision = place(build_fleet(hosts(2)), wanted, Profile(), now_s=0.0)
    assert decision.failed_index == 2 and decision.failure.report.totals == {"anti_affinity": 2}


def test_affinity_holds_within_the_batch():
    assert placed(hosts(3), guests(2, group=group(Policy.AFFINITY))) == ["c1", "c1"]
    assert placed(hosts(3), guests(2, group=group(Policy.AFFINITY, old="c2"))) == ["c2", "c2"]
    decision = place(build_fleet(hosts(3)), guests(3, group=group(Policy.AFFINITY)), Profile(), now_s=0.0)
    assert decision.failed_index == 2


def test_affinity_to_a_host_that_is_gone_refuses_all():
    decision = place(build_fleet(hosts(2)), guests(1, group=group(Policy.AFFINITY, old="c9")), Profile(), now_s=0.0)
    assert "lives on c9" in decision.failure.report.refused[0].text


def test_soft_policies_prefer():
    profile = Profile(weighers=("ServerGroupSoftAffinityWeigher", "ServerGroupSoftAntiAffinityWeigher"))
    near = guests(2, group=group(Policy.SOFT_AFFINITY, old="c3"))
    assert placed(hosts(3), near, profile) == ["c3", "c3"]
    assert placed(hosts(3), guests(3, group=group(Policy.SOFT_AFFINITY, old="c3")), profile)[2] == "c1"
    spread = guests(3, group=group(Policy.SOFT_ANTI_AFFINITY, old="c1"))
    assert placed(hosts(3), spread, profile) == ["c2", "c3", "c1"]


def test_forced_host_skips_the_profile_s_filters_only():
    profile = Profile(filters=("AvailabilityZoneFilter",))
    forced = replace(WEB, availability_zone="elsewhere", force_host="C2")
    assert placed(hosts(2), [forced], profile) == ["c2"]
    assert placed([HOST, replace(HOST, name="c2", memory_mib_total=1024)], [forced], profile) == []


def test_destination_skips_nothing():
    there = replace(WEB, destination="c2")
    assert placed(hosts(2), [there]) == ["c2"]
    assert placed(hosts(2), [replace(there, availability_zone="elsewhere")]) == []


def test_two_aggregates_of_one_host_are_read_each_for_itself():
    both = (Aggregate("g", {"ssd": "true", "tier": "1"}), Aggregate("k", {"ssd": "false", "tier": "2"}))
    fleet = [replace(HOST, name="c1"), replace(HOST, name="c2", aggregates=both)]
    profile = Profile(filters=("AggregateInstanceExtraSpecsFilter",))
    assert placed(fleet, [replace(WEB, extra_specs={"ssd": "true", "tier": "2"})], profile) == ["c2"]


def test_ten_thousand_aggregates():
    fleet = [
        replace(HOST, name=f"c{n:05}", aggregates=(Aggregate(f"g{n}", {"rack": str(n), "max_io_ops_per_host": "3"}),))
        for n in range(10_000)
    ]
    profile = Profile(filters=("AggregateInstanceExtraSpecsFilter", "AggregateIoOpsFilter"))
    wanted = guests(2, memory_mib=64, extra_specs={"rack": "== 4711"})
    assert placed(fleet, wanted, profile) == ["c04711", "c04711"]


HUGE = {
    "vCPUs": {"vcpus_total": 2**53, "cpu_allocation_ratio": 1e8},
    "memory": {"memory_mib_total": 2**53, "ram_allocation_ratio": 2.0**53},
    "disk": {"disk_mib_total": 10**7, "disk_allocation_ratio": 1e12},
    "reserve": {"vcpus_total": 2**53, "reserved_host_cpus": 2**53, "cpu_allocation_ratio": 1e8},
    "reserve beyond": {"reserved_host_cpus": 2**53, "cpu_allocation_ratio": 1e8},
}


@pytest.mark.parametrize(("case", "changes"), HUGE.items(), ids=HUGE)
def test_a_limit_that_no_column_holds_is_no_limit(case, changes):
    fleet = build_fleet([replace(HOST, **changes)])
    found = [int(column[0]) for column in (fleet.vcpus_limit, fleet.memory_mib_limit, fleet.disk_mib_limit)]
    limits = fleet.hosts[0].limits
    assert found == [limits.vcpus, limits.memory_mib, limits.disk_mib] and all(abs(limit) <= 2**53 for limit in found)
    decision = place(fleet, guests(2, memory_mib=512), Profile(filters=tuple(BUILT_IN.filters)), now_s=0.0)
    assert decision.ok is not case.startswith("reserve")
    if not decision.ok:
        assert decision.failure.report.refused[0].reasons[0].have == 0


BAD_HOSTS = {
    "negative": ({"vcpus_total": -1}, "vcpus_total: found -1"),
    "not a number": ({"ram_allocation_ratio": float("nan")}, "ram_allocation_ratio: found nan"),
    "infinite": ({"cpu_allocation_ratio": float("inf")}, "cpu_allocation_ratio: found inf"),
    "zero ratio": ({"disk_allocation_ratio": 0.0}, "disk_allocation_ratio: found 0.0"),
    "a fraction": ({"memory_mib_total": 0.5}, "memory_mib_total: found 0.5"),
    "a boolean": ({"vcpus_used": True}, "vcpus_used: found True"),
    "too large": ({"disk_mib_total": 2**60}, "disk_mib_total: found 1152921504606846976, allowed: a whole number"),
    "ratio too large": ({"cpu_allocation_ratio": 1e16}, "cpu_allocation_ratio: found 1e+16, allowed: a number above 0"),
    "no name": ({"name": ""}, "the name is empty"),
    "time": ({"facts_at": float("nan")}, "facts_at: found nan"),
    "failures": ({"failed_builds": float("nan")}, "failed_builds: found nan"),
    "failures below zero": ({"failed_builds": -0.5}, "failed_builds: found -0.5"),
    "metric": ({"metrics": {"heat": float("nan")}}, "metrics.heat: found nan"),
    "infinite metric": ({"metrics": {"heat": float("inf")}}, "metrics.heat: found inf"),
    "metric of text": ({"metrics": {"heat": "hot"}}, "metrics.heat: found 'hot'"),
    "measured": ({"disk_free_mib_measured": -4}, "disk_free_mib_measured: found -4"),
}


@pytest.mark.parametrize(("change", "text"), BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_bad_numbers_of_a_host_are_a_clear_error(change, text):
    with pytest.raises(InvalidInput) as caught:
        build_fleet([HOST, replace(HOST, **{"name": "c2", **change})])
    assert text in str(caught.value)


def test_all_mistakes_are_told_and_names_are_unique():
    with pytest.raises(InvalidInput) as caught:
        build_fleet([HOST, replace(HOST, name="C1"), replace(HOST, name="c2", vcpus_total=-1, vcpus_used=-1)])
    assert len(caught.value.data["problems"]) == 3
    first, second = Aggregate("g", {"a": "1"}), Aggregate("g", {"a": "2"})
    with pytest.raises(InvalidInput, match="metadata differs"):
        build_fleet([replace(HOST, aggregates=(first,)), replace(HOST, name="c2", aggregates=(second,))])


BAD_REQUESTS = {
    "no vcpus": ({"vcpus": 0}, "vcpus: found 0"),
    "memory": ({"memory_mib": -5}, "memory_mib: found -5"),
    "not a number": ({"disk_gib": float("nan")}, "disk_gib: found nan"),
    "too large": ({"disk_gib": 2**50}, "disk_gib: found 1125899906842624, allowed: a whole number, 0 or more, at most"),
    "forced to nobody": ({"force_host": "c11"}, "forced host c11 is not in the fleet; did you mean c1?"),
    "destination": ({"destination": "C1"}, "destination C1 is not in the fleet; did you mean c1?"),
    "policy": ({"group": ServerGroup("g", "near")}, "policy 'near', allowed"),
    "most per host": ({"group": ServerGroup("g", Policy.ANTI_AFFINITY, {}, 0)}, "max_server_per_host: found 0"),
}


@pytest.mark.parametrize(("change", "text"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_bad_requests_are_a_clear_error(change, text):
    with pytest.raises(InvalidInput) as caught:
        place(build_fleet([HOST]), [replace(WEB, **change)], Profile(), now_s=0.0)
    assert text in str(caught.value) and "guest web" in str(caught.value)


def test_a_batch_may_not_contradict_itself():
    twice = [WEB, replace(WEB, name="other")]
    with pytest.raises(InvalidInput, match="asked for twice"):
        place(build_fleet([HOST]), twice, Profile(), now_s=0.0)
    groups = [
        replace(WEB, group=ServerGroup("g", Policy.AFFINITY)),
        replace(WEB, uuid="b", group=ServerGroup("g", Policy.ANTI_AFFINITY)),
    ]
    with pytest.raises(InvalidInput, match="given twice in one batch"):
        place(build_fleet([HOST]), groups, Profile(), now_s=0.0)


def test_the_report_is_plain_data_and_lines():
    report = place(build_fleet(hosts(2)), [WEB], Profile(), now_s=0.0).explain()
    data = report.to_dict()
    assert data["chosen"] == "c1" and data["alternates"] == ["c2"]
    assert data["weighed"][0]["weighers"][0] == {
        "weigher": "RAMWeigher",
        "raw": 8192.0,
        "normalised": 1.0,
        "multiplier": 1.0,
        "score": 1.0,
    }
    assert data["stages"][0] == {"filter": "NamedHosts", "before": 2, "after": 2}
    assert any(line.startswith("c1: 1. 3.000 = RAMWeigher 1 x 1.000 (8192)") for line in report.lines())


def test_shapes_beyond_those_kept_are_still_right():
    wanted = [replace(WEB, uuid=f"u{n}", name=f"u{n}", memory_mib=64 + n % 50) for n in range(90)]
    assert placed(hosts(3), wanted) == placed(hosts(3), [replace(w, flavor="x") for w in wanted])
    assert set(placed(hosts(3), wanted)) == {"c1", "c2", "c3"}


def test_every_filter_on_still_places():
    assert placed(hosts(3), guests(3), Profile(filters=tuple(BUILT_IN.filters))) == ["c1", "c2", "c3"]


BAD_METADATA = ("nan", "inf", "-inf", "1e400", "lots", "", "4,8")


@pytest.mark.parametrize("text", BAD_METADATA)
@pytest.mark.parametrize(
    "key",
    [
        "ram_weight_multiplier",
        "max_io_ops_per_host",
        "max_instances_per_host",
        "ram_allocation_ratio",
        "cpu_allocation_ratio",
        "disk_allocation_ratio",
    ],
)
def test_metadata_that_is_no_number_counts_for_nothing(key, text):
    filters = tuple(f"Aggregate{name}Filter" for name in ("IoOps", "NumInstances", "Ram", "Core", "Disk"))
    odd = replace(HOST, aggregates=(Aggregate("g", {key: text}),))
    larger = replace(HOST, name="c2", memory_mib_total=HOST.memory_mib_total + 1024)
    plain = place(build_fleet([HOST, larger]), guests(1), Profile(filters=filters), now_s=0.0)
    found = place(build_fleet([odd, larger]), guests(1), Profile(filters=filters), now_s=0.0)
    assert [p.to_dict() for p in found.placements] == [p.to_dict() for p in plain.placements]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_plug_in_that_weighs_with_no_number_is_named(number):
    class Broken(HostWeigher):
        multiplier_option = "broken_weight_multiplier"

        def weigh_host(self, host, request):
            return number if host.name == "c1" else 1.0

    profile = Profile(weighers=("Broken",), registry=BUILT_IN.extended([Broken]))
    with pytest.raises(InvalidInput, match="weigher Broken"):
        place(build_fleet([HOST, replace(HOST, name="c2")]), guests(1), profile, now_s=0.0)


def test_a_group_of_guests_that_nobody_knows_prefers_nothing():
    group = ServerGroup("g", Policy.ANTI_AFFINITY, {"ghost": "c1", "spirit": "nowhere"})
    assert placed([HOST, replace(HOST, name="c2")], [replace(guests(1)[0], group=group)], Profile()) == ["c2"]


def test_a_fleet_of_hosts_without_anything_refuses_each_by_name():
    decision = place(build_fleet([Host("c1"), Host("c2", facts_at=0.0)]), guests(1), Profile(), now_s=0.0)
    assert [line.split(":")[0] for line in decision.error().details[:2]] == ["c1", "c2"]
