# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets as documents: played, written and read again, and every mistake in them."""

import json

import jsonschema
import pytest
import yaml

from berth.errors import InvalidInput, NotFound
from berth.placement import GuestOnHost, Host, build_fleet, read_fleet, read_requests, schema, simulate, write_fleet
from berth.placement.devices import PciDevice

DEVICE = PciDevice("0000:00:01.0", "10de", "1eb8")

FLEET = yaml.safe_load("""
now: 100
aggregates: {fast: {ssd: "true"}}
groups: {spread: {policy: anti-affinity, members: [old]}}
placement:
  profiles:
    default: {filters: [ServerGroupAntiAffinityFilter, AggregateInstanceExtraSpecsFilter], weighers: [RAMWeigher]}
    any: {filters: [], weighers: [RAMWeigher]}
hosts:
  - {name: c1, vcpus_total: 4, memory_mib_total: 8704, disk_mib_total: 102400, aggregates: [fast],
     guests: [{uuid: u-old, name: old, memory_mib: 1024, vcpus: 1}]}
  - {name: c2, vcpus_total: 4, memory_mib_total: 8704, disk_mib_total: 102400, aggregates: [fast],
     numa_cells: [{id: 0, memory_mib: 8192, shared_cpus: 0-3, siblings: [0-1, 2-3], pages: [{size_kib: 4, total: 9}]}],
     pci_devices: [{address: "0000:00:01.0", vendor_id: 10de, product_id: 1eb8}], traits: [X], metrics: {heat: 1}}
  - {name: c3, vcpus_total: 4, memory_mib_total: 8704, disk_mib_total: 102400, facts_at: 90, reachable: false}
""")
REQUESTS = yaml.safe_load("""
flavors: {small: {vcpus: 1, memory_mib: 2048, disk_gib: 4, extra_specs: {ssd: "true"}}}
requests:
  - {name: web, count: 1, flavor: small, group: spread}
  - {name: huge, flavor: small, memory_mib: 99999}
  - {name: more, flavor: small, group: spread}
  - {name: free, flavor: small, profile: any, count: 2}
""")


def run(fleet=FLEET, requests=REQUESTS):
    document = read_fleet(fleet)
    return simulate(document, read_requests(requests, document.groups))


def test_a_seed_gives_every_request_a_draw_of_its_own_and_the_same_again():
    fleet = {
        "hosts": [
            {"name": f"c{n}", "vcpus_total": 4, "memory_mib_total": 8704, "disk_mib_total": 102400} for n in range(4)
        ],
        "placement": {"profiles": {"default": {"scheduler": "chance"}}},
    }
    document = read_fleet(fleet)
    items = read_requests(
        {"requests": [{"name": f"g{n}", "vcpus": 1, "memory_mib": 64} for n in range(8)]}, document.groups
    )
    drawn = [[one.placements[0].host for one in simulate(document, items, seed=1).outcomes] for _ in range(2)]
    assert len(set(drawn[0])) > 1 and drawn[0] == drawn[1]


def test_each_request_sees_what_those_before_it_took():
    result = run()
    assert [(o.name, o.ok, [p.host for p in o.placements]) for o in result.outcomes] == [
        ("web", True, ["c2"]),
        ("huge", False, []),
        ("more", False, []),
        ("free", True, ["c1", "c2"]),
    ]
    assert not result.ok
    refusals = {r.host: r.filter for r in result.outcomes[2].reports[0].refused}
    assert refusals == {
        "c1": "ServerGroupAntiAffinityFilter",
        "c2": "ServerGroupAntiAffinityFilter",
        "c3": "ComputeFilter",
    }
    after = {host.name: host for host in result.after.hosts}
    assert (after["c1"].memory_mib_used, after["c2"].memory_mib_used, len(after["c2"].guests)) == (3072, 4096, 2)
    assert result.after.groups["spread"].members == {"u-old": "c1", "web": "c2"}


def test_lines_and_json():
    result = run()
    lines = result.lines()
    assert lines[0].startswith("web: 3 hosts > NamedHosts 3 > ComputeFilter 2 > Resources 2")
    assert "c1: 2 guests, vCPUs 2/16, memory 3072/8192 MiB, disk 4096/102400 MiB" in lines
    assert any("c3: ComputeFilter: unreachable" in line for line in result.lines(explain=True))
    assert json.loads(json.dumps(result.to_dict()))["outcomes"][0]["placements"][0]["host"] == "c2"


def test_the_fleet_after_is_a_fleet_again():
    after = run().after
    written = json.loads(json.dumps(write_fleet(after, FLEET["placement"])))
    again = read_fleet(written)
    assert again.hosts == after.hosts and again.groups == after.groups and again.profiles == after.profiles
    more = {"requests": [{"name": "next", "vcpus": 1, "memory_mib": 512, "profile": "any"}]}
    hosts = [simulate(d, read_requests(more, d.groups)).outcomes[0].placements[0].host for d in (after, again)]
    assert hosts[0] == hosts[1]


def test_the_schema_takes_what_is_read():
    printed = schema()
    jsonschema.Draft202012Validator.check_schema(printed)
    for document in (FLEET, REQUESTS, write_fleet(run().after)):
        jsonschema.validate(document, printed)


SCHEMA_REFUSES = {
    "a key": {"hosts": [{"name": "c1", "typo": 1}]},
    "a profile's key": {"hosts": [], "placement": {"profiles": {"a": {"filtres": []}}}},
    "a multiplier": {"hosts": [], "placement": {"profiles": {"a": {"multipliers": {"ram_weight_multiplier": "1"}}}}},
    "an option": {"hosts": [], "placement": {"profiles": {"a": {"options": {"max_io_ops_per_host": -1}}}}},
    "a kind": {"hosts": [], "placement": {"profiles": {"a": {"options": {"pci_aliases": {"x": {"kind": "VF"}}}}}}},
    "a hint": {"requests": [{"name": "a", "hints": {"diferent_host": "b"}}]},
    "a hint's value": {"requests": [{"name": "a", "hints": {"same_host": 5}}]},
}


@pytest.mark.parametrize("document", SCHEMA_REFUSES.values(), ids=SCHEMA_REFUSES)
def test_the_schema_refuses_what_is_refused(document):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())


def test_the_schema_takes_every_part_of_a_profile():
    profile = {
        "extends": "b",
        "filters": {"add": ["IoOpsFilter", "OfAPlugin"], "remove": ["JsonFilter"]},
        "weighers": ["RAMWeigher", "OfAPlugin"],
        "multipliers": {"ram_weight_multiplier": -1, "of_a_plugin": 2.5},
        "options": {
            "facts_max_age_s": 60,
            "isolated_hosts": ["c1"],
            "metrics_weight_setting": {"heat": -1},
            "pci_aliases": {"nic": {"vendor_id": "8086", "product_id": 1520, "kind": "type-VF"}},
            "plugin_options": {"any": ["thing"]},
        },
        "scheduler": "chance",
        "max_attempts": 2,
        "plugins": ["rack"],
    }
    placement = {"default": "a", "projects": {"lab": "b"}, "profiles": {"a": profile, "b": None}}
    jsonschema.validate({"hosts": [], "placement": placement}, schema())


def host(**changes):
    return {"hosts": [{"name": "c1", **changes}]}


BAD_FLEETS = {
    "no map": ([], "found list"),
    "no hosts": ({}, "hosts is missing"),
    "key": (host(vcpus=4), "hosts[0].vcpus: unknown key 'vcpus'; did you mean vcpus_"),
    "number": (host(vcpus_total="4"), "hosts[0].vcpus_total: found '4', allowed: a whole number"),
    "negative": (host(memory_mib_total=-1), "found -1"),
    "nan": (host(cpu_allocation_ratio=float("nan")), "allowed: a finite number above 0"),
    "aggregate": ({"hosts": [{"name": "c1", "aggregates": ["fst"]}], "aggregates": {"fast": {}}}, "did you mean fast?"),
    "twice": ({"hosts": [{"name": "c1"}, {"name": "C1"}]}, "the name is taken by host C1"),
    "guest twice": (
        {
            "hosts": [
                {"name": "c2"},
                {"name": "c1", "guests": [{"uuid": "u"}]},
                {"name": "c0", "guests": [{"uuid": "u"}]},
            ]
        },
        "hosts[2].guests[0].uuid: guest u is on host c1 already",
    ),
    "guest twice on one host": (host(guests=[{"uuid": "u"}, {"uuid": "u"}]), "hosts[0].guests[1].uuid: guest u is on"),
    "device twice": (
        host(pci_devices=[{"address": "a", "vendor_id": "b", "product_id": "c"} for _ in range(2)]),
        "hosts[0].pci_devices[1].address: device a is there already",
    ),
    "unknown guest": (
        {**host(), "groups": {"g": {"policy": "affinity", "members": ["ghost"]}}},
        "groups.g.members[0]: unknown guest 'ghost'",
    ),
    "policy": ({**host(), "groups": {"g": {"policy": "near"}}}, "groups.g.policy: found 'near', allowed: affinity"),
    "unknown group": (host(guests=[{"uuid": "u", "group": "g"}]), "group 'g', which is not described"),
    "cpus": (host(numa_cells=[{"id": 0, "memory_mib": 1, "shared_cpus": "3-1"}]), "shared_cpus: found '3-1'"),
    "kind": (
        host(pci_devices=[{"address": "a", "vendor_id": "b", "product_id": "c", "kind": "type-vf"}]),
        "pci_devices[0].kind: found 'type-vf', allowed: type-PCI, type-PF, type-VF",
    ),
    "pinned nowhere": (host(guests=[{"uuid": "x", "pins": {"cells": [{}]}}]), "pins.cells[0]: guest_cell is missing"),
    "pins no list": (host(guests=[{"uuid": "x", "pins": {"cells": 5}}]), "pins.cells: found 5"),
    "pins misspelt": (host(guests=[{"uuid": "x", "pins": {"cellz": []}}]), "unknown key 'cellz'"),
    "pinned to nothing": (host(guests=[{"uuid": "x", "pins": {"pci_addresses": 7}}]), "pins.pci_addresses: found 7"),
    "profile": ({**host(), "placement": {"profiles": {"a": {"filters": ["X"]}}}}, "placement.profiles.a.filters[0]"),
}


@pytest.mark.parametrize(("document", "text"), BAD_FLEETS.values(), ids=BAD_FLEETS)
def test_mistakes_in_a_fleet(document, text):
    with pytest.raises(InvalidInput) as caught:
        _ = read_fleet(document).fleet
    assert text in "\n".join((str(caught.value), *caught.value.details))


BAD_REQUESTS = {
    "no name": ([{"vcpus": 1, "memory_mib": 1}], "name is missing"),
    "flavor": ([{"name": "a", "flavor": "smal"}], "unknown flavor 'smal'; did you mean small?"),
    "amounts": ([{"name": "a"}], "vcpus is missing"),
    "group": ([{"name": "a", "flavor": "small", "group": "spraed"}], "did you mean spread?"),
    "twice": ([{"name": "a", "flavor": "small"}, {"name": "a", "flavor": "small"}], "asked for twice"),
    "count": ([{"name": "a", "flavor": "small", "count": 0}], "count: found 0"),
    "hint": ([{"name": "a", "flavor": "small", "hints": {"diferent_host": "old"}}], "did you mean different_host?"),
    "hint's value": ([{"name": "a", "flavor": "small", "hints": {"cidr": "wide"}}], "hints.cidr: found 'wide'"),
    "zone and host": (
        [{"name": "a", "flavor": "small", "availability_zone": "nova:c2", "force_host": "c3"}],
        "requests[0].force_host: found 'c3', allowed: c2, which availability_zone forces, or nothing",
    ),
    "host and node": (
        [{"name": "a", "flavor": "small", "force_host": "c2", "force_node": "c3"}],
        "force_node: found 'c3', allowed: c2, which force_host forces",
    ),
    "node and destination": (
        [{"name": "a", "flavor": "small", "force_node": "c2", "destination": "c3"}],
        "destination: found 'c3', allowed: c2, which force_node forces",
    ),
}


@pytest.mark.parametrize(("requests", "text"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_mistakes_in_requests(requests, text):
    with pytest.raises(InvalidInput) as caught:
        read_requests({"flavors": REQUESTS["flavors"], "requests": requests}, read_fleet(FLEET).groups)
    assert text in "\n".join((str(caught.value), *caught.value.details))


def test_an_unknown_profile():
    with pytest.raises(NotFound):
        run(requests={"requests": [{"name": "a", "vcpus": 1, "memory_mib": 1, "profile": "x"}]})


def test_zone_and_forced_host_in_one_word():
    document = read_fleet(FLEET)
    (item,) = read_requests(
        {"requests": [{"name": "a", "vcpus": 1, "memory_mib": 1, "availability_zone": "nova:c2"}]}, document.groups
    )
    assert (item.guests[0].availability_zone, item.guests[0].force_host) == ("nova", "c2")
    assert simulate(document, [item]).outcomes[0].placements[0].host == "c2"


def test_a_forced_node_is_a_forced_host():
    result = run(requests={"requests": [{"name": "a", "vcpus": 1, "memory_mib": 1, "force_node": "c2"}]})
    assert result.outcomes[0].placements[0].host == "c2"


def small(name, **more):
    return {"name": name, "vcpus": 1, "memory_mib": 64, **more}


NAMED = {
    "a uuid of the fleet": (
        [small("new", uuid="u-old")],
        "requests[0]: guest new is in the fleet, on c1: give the new",
    ),
    "a name of the fleet": (
        [small("old", group="spread")],
        "requests[0]: guest old is in the fleet, on c1: give the new",
    ),
    "one of several": (
        [small("o", uuid="u", count=2), small("u", uuid="u-old")],
        "requests[1]: guest u is in the fleet",
    ),
    "moved from elsewhere": ([small("old", uuid="u-old", current_host="c2")], "`current_host: c1`"),
    "different from nobody": (
        [small("a", hints={"different_host": ["old", "odl"]})],
        "requests[0].hints.different_host: no guest 'odl' in project default; did you mean old?",
    ),
    "with nobody": ([small("a", hints={"same_host": "ghost"})], "requests[0].hints.same_host: no guest 'ghost'"),
    "with one that comes later": ([small("a", hints={"same_host": "b"}), small("b")], "no guest 'b'"),
    "of another project": ([small("a", project="lab", hints={"same_host": "old"})], "no guest 'old' in project lab"),
}


@pytest.mark.parametrize(("requests", "text"), NAMED.values(), ids=NAMED)
def test_guests_that_are_there_already_and_guests_that_are_not(requests, text):
    document = read_fleet(FLEET)
    items = read_requests({"requests": requests}, document.groups)
    with pytest.raises(InvalidInput) as caught:
        simulate(document, items)
    assert text in "\n".join((str(caught.value), *caught.value.details))


HINTED = {**FLEET, "placement": {"profiles": {"default": {"filters": ["DifferentHostFilter", "SameHostFilter"]}}}}


@pytest.mark.parametrize("name", ["old", "OLD", "u-old"])
def test_hints_name_guests_by_name_or_uuid_and_those_of_earlier_requests(name):
    requests = [small("a", hints={"different_host": name}), small("b", hints={"same_host": ["a"]})]
    result = run(HINTED, {"requests": requests})
    assert [outcome.placements[0].host for outcome in result.outcomes] == ["c2", "c2"]


def test_a_guest_that_moves_leaves_its_host():
    moving = {"uuid": "u-old", "current_host": "c1", "group": "spread", "ignore_hosts": ["c1"]}
    result = run(requests={"requests": [small("old", **moving), small("next", group="spread")]})
    assert [outcome.placements[0].host for outcome in result.outcomes] == ["c2", "c1"]
    after = {host.name: host for host in result.after.hosts}
    assert [guest.uuid for guest in after["c1"].guests] == ["next"] and after["c1"].vcpus_used == 1
    assert result.after.groups["spread"].members == {"u-old": "c2", "next": "c1"}


@pytest.mark.parametrize("twice", [{"guests": (GuestOnHost("u"),)}, {"pci_devices": (DEVICE, DEVICE)}])
def test_a_fleet_has_each_guest_and_each_device_once(twice):
    with pytest.raises(InvalidInput, match=r"host c2: (guest u|device 0000:00:01.0) is "):
        build_fleet([Host("c1", guests=(GuestOnHost("u"),)), Host("c2", **twice)])
