# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot hands to placement: the cloud's profiles, the request's wishes, and failed builds of the hosts."""

from __future__ import annotations

import runpy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.cloud import Cloud
from berth.errors import HostFailed, InvalidInput, NotFound, NoValidHost
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.spec.request import request_digest
from berth.verbs import boot
from berth.verbs.boot_request import resolve_request
from berth.verbs.placement_profiles import MAX_ATTEMPTS
from berth.verbs.placing import read_fleet

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud = _FLOW["cloud"]
call = _FLOW["call"]
facts = _FLOW["facts"]
answers = _FLOW["answers"]
booted = _FLOW["booted"]
PLAYBOOK = Path(__file__).parents[3] / "playbooks" / "guest_boot.yml"

REQUEST = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"]}


def profiles(cloud: Cloud, text: str) -> None:
    (cloud.catalog_path / "placement.yml").write_text(text)


def placed(cloud: Cloud, **wishes: Any) -> list[str]:
    """Returns the hosts that a boot would choose."""
    outcome = boot.begin(call(cloud, request={**REQUEST, **wishes}, check_mode=True))
    return [placement["host"] for placement in outcome["placements"]]


def refused(cloud: Cloud, kind: type[Exception], **wishes: Any) -> str:
    with pytest.raises(kind) as caught:
        placed(cloud, **wishes)
    return "\n".join((caught.value.message, *caught.value.details))  # type: ignore[attr-defined]


PACK = """
projects: {lab: pack}
profiles:
  default: {}
  pack: {multipliers: {ram_weight_multiplier: -1.0, cpu_weight_multiplier: -1.0, disk_weight_multiplier: -1.0}}
"""


def test_a_profile_is_chosen_by_request_or_project(cloud: Cloud) -> None:
    profiles(cloud, PACK)
    (cloud.catalog_path / "projects.yml").write_text("projects: [{name: lab}]\n")
    booted(cloud, {**REQUEST, "name": "first", "hints": {"destination": "h2"}})
    assert placed(cloud) == ["h1"]
    assert placed(cloud, profile="pack") == ["h2"]
    assert placed(cloud, project="lab") == ["h2"]
    assert placed(cloud, project="lab", profile="default") == ["h1"]
    assert "did you mean pack?" in refused(cloud, NotFound, profile="pakc")


def test_mistakes_in_the_profiles_have_file_and_line(cloud: Cloud) -> None:
    profiles(cloud, "profiles:\n  default:\n    filtres: []\n    multipliers: {ram_wight_multiplier: 1}\n")
    told = refused(cloud, InvalidInput)
    assert "placement.yml:3: profiles.default.filtres: unknown key 'filtres'; did you mean filters?" in told
    assert "placement.yml:4" in told and "did you mean ram_weight_multiplier?" in told
    profiles(cloud, "profiles: [")
    assert "placement.yml:2: not YAML" in refused(cloud, InvalidInput)


def test_the_clouds_age_of_facts_holds_unless_the_profile_says_another(cloud: Cloud) -> None:
    old = [HostUpdate("h1", facts=facts("h1", collected_at=time.time() - 100_000), groups=("compute",))]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh(old, {}, "sha256:0", time.time()))
    assert "h1: ComputeFilter" in refused(cloud, NoValidHost)
    profiles(cloud, "profiles: {default: {options: {facts_max_age_s: 200000}}}")
    assert placed(cloud) == ["h1"]


def test_a_profile_bounds_the_hosts_that_are_tried(cloud: Cloud) -> None:
    profiles(cloud, "profiles: {default: {max_attempts: 2}}")
    begun = boot.begin(call(cloud, request=REQUEST))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    work, rounds = begun["work"], 0
    while work:
        work = boot.record(call(cloud, results=answers(work, dict.fromkeys(work, "host")), **passed))["work"]
        rounds += 1
    assert rounds == 2
    with pytest.raises(HostFailed, match="did not boot") as caught:
        boot.finish(call(cloud, **passed))
    assert "2 hosts were tried: h1: no: host; h2: no: host" in caught.value.details[0]


def test_no_profile_asks_for_more_rounds_than_the_playbook_has(cloud: Cloud) -> None:
    plays = yaml.safe_load(PLAYBOOK.read_text())
    rounds = [play for play in plays if play.get("ansible.builtin.import_playbook") == "guest_boot_round.yml"]
    assert len(rounds) == MAX_ATTEMPTS
    profiles(cloud, "profiles:\n  default:\n    max_attempts: 4\n  more: {extends: default}\n")
    told = refused(cloud, InvalidInput)
    assert "placement.yml:3: profiles.default.max_attempts: found 4, allowed: at most 3" in told and "more" not in told


def test_a_boot_that_moves_on_to_no_host_tells_of_every_host(cloud: Cloud) -> None:
    begun = boot.begin(call(cloud, request={**REQUEST, "hints": {"destination": "h2"}}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    boot.record(call(cloud, results=answers(begun["work"], {"h2": "host"}), **passed))
    with pytest.raises(HostFailed) as caught:
        boot.finish(call(cloud, **passed))
    told = ("h1: NamedHosts: ", "h2: RetryFilter: ", "h3: NamedHosts: ")
    assert all(text in caught.value.details[0] for text in told)


WISHES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "forced": ({"hints": {"force_host": "h2"}}, ["h2"]),
    "forced by zone": ({"availability_zone": ":h3"}, ["h3"]),
    "forced node": ({"hints": {"force_node": "H2"}}, ["h2"]),
    "destination": ({"hints": {"destination": "h3"}}, ["h3"]),
    "ignored": ({"hints": {"ignore_hosts": ["h1", "h2"]}}, ["h3"]),
    "different host": ({"hints": {"different_host": ["old", "older"]}}, ["h3"]),
    "different host, alone": ({"hints": {"different_host": "old"}}, ["h2"]),
    "same host": ({"hints": {"same_host": ["older"]}}, ["h2"]),
    "near an address": ({"hints": {"build_near_host_ip": "10.0.2.9", "cidr": "/24"}}, ["h2"]),
    "query": ({"hints": {"query": '["=", "$host", "h3"]'}}, ["h3"]),
    "apart": ({"group": {"name": "g", "policy": "anti-affinity"}, "count": 3}, ["h1", "h2", "h3"]),
    "two a host": (
        {"group": {"name": "g", "policy": "anti-affinity", "max_server_per_host": 2}, "count": 6},
        ["h1", "h2", "h3", "h1", "h2", "h3"],
    ),
    "together": ({"group": {"name": "g", "policy": "affinity"}, "count": 3}, ["h1", "h1", "h1"]),
    "together, softly": (
        {"group": {"name": "g", "policy": "soft-affinity"}, "count": 2, "profile": "soft"},
        ["h1"] * 2,
    ),
    "apart, softly": ({"group": {"name": "g", "policy": "soft-anti-affinity"}, "count": 2}, ["h1", "h2"]),
}


CALM = """
profiles:
  default: {weighers: [ServerGroupSoftAffinityWeigher, ServerGroupSoftAntiAffinityWeigher, NumInstancesWeigher]}
  soft: {extends: default}
"""


@pytest.fixture
def lived_in(cloud: Cloud) -> Cloud:
    """A cloud with a guest on h1 and one on h2, and an address on each host; the guests take next to nothing."""
    known = {f"h{n}": facts(f"h{n}", migration={"address": f"10.0.{n}.1"}) for n in (1, 2, 3)}
    _FLOW["store"](cloud, known)
    profiles(cloud, CALM)
    for name, host in (("old", "h1"), ("older", "h2")):
        booted(cloud, {**REQUEST, "name": name, "hints": {"destination": host}})
    return cloud


@pytest.mark.parametrize(("wish", "hosts"), WISHES.values(), ids=WISHES)
def test_wishes(lived_in: Cloud, wish: dict[str, Any], hosts: list[str]) -> None:
    found = placed(lived_in, **wish)
    assert found == hosts if wish.get("count", 1) < 6 else sorted(found) == sorted(hosts)


def test_a_host_that_was_tried_is_told_as_tried(cloud: Cloud) -> None:
    """Also by a profile that does not list the filter, where nothing else would keep the guest off."""
    profiles(cloud, "profiles: {default: {filters: [ComputeFilter]}}")
    begun = boot.begin(call(cloud, request={**REQUEST, "hints": {"ignore_hosts": ["h2", "h3"]}}))
    row_uuid, action = begun["uuids"][0], begun["action"]
    failed = answers(begun["work"], {"h1": "refused"})
    boot.record(call(cloud, request={"uuids": [row_uuid]}, action_id=action, results=failed))
    with Ledger.open(cloud.ledger_url) as ledger:
        fault = ledger.guest_by_uuid(row_uuid).fault
    assert "h1: RetryFilter: already tried for this guest" in fault
    assert "h2: NamedHosts: in the request's ignored hosts" in fault


def test_a_seed_gives_the_same_choice_again(cloud: Cloud) -> None:
    profiles(cloud, "profiles: {default: {scheduler: chance}}")
    drawn = [placed(cloud, count=6, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len({tuple(hosts) for hosts in drawn}) > 1
    assert "seed: found -1, allowed" in refused(cloud, InvalidInput, seed=-1)
    begun = boot.begin(call(cloud, request={**REQUEST, "count": 6, "seed": 2}))
    assert sorted(host for host, share in begun["work"].items() for _ in share["plans"]) == sorted(drawn[3])
    digests = {request_digest(resolve_request(cloud, {**REQUEST, **more})) for more in ({}, {"seed": 2})}
    assert len(digests) == 1, "what is drawn by chance does not make another request"


def test_guests_are_named_by_uuid_too(lived_in: Cloud) -> None:
    with Ledger.open(lived_in.ledger_url) as ledger:
        older = ledger.guest("default", "older").uuid
    assert placed(lived_in, hints={"same_host": [older]}) == ["h2"]


def test_a_forced_host_skips_the_profiles_filters_and_a_destination_does_not(cloud: Cloud) -> None:
    wish = {"availability_zone": "far"}
    assert "AvailabilityZoneFilter" in refused(cloud, NoValidHost, **wish, hints={"destination": "h2"})
    assert placed(cloud, **wish, hints={"force_host": "h2"}) == ["h2"]
    assert placed(cloud, availability_zone="far:h2") == ["h2"]


def test_every_name_that_hints_get_wrong_is_told_at_once(lived_in: Cloud) -> None:
    hints = {"different_host": ["odl"], "same_host": "f8b7a1c0-0000-4000-8000-000000000000", "destination": "h9"}
    told = refused(lived_in, NotFound, hints=hints)
    assert "hints.different_host: no guest 'odl' in project default; did you mean old?" in told
    assert "hints.same_host: no guest 'f8b7a1c0-0000-4000-8000-000000000000'" in told
    assert "destination: no host 'h9'; known: h1, h2, h3" in told
    told = refused(lived_in, InvalidInput, hints={**hints, "query": ["=", "$hots", "a"]})
    assert "unknown attribute $hots" in told and "did you mean old?" in told


def test_a_hint_that_no_filter_reads_is_refused(lived_in: Cloud) -> None:
    profiles(lived_in, "profiles: {default: {filters: [ComputeFilter]}}")
    told = refused(lived_in, InvalidInput, hints={"different_host": "old", "query": ["=", "$host", "h1"]})
    assert "hint different_host: profile default has no DifferentHostFilter" in told
    assert "hint query: profile default has no JsonFilter" in told


def test_a_hint_that_a_forced_host_makes_void_is_refused(lived_in: Cloud) -> None:
    told = refused(lived_in, InvalidInput, hints={"force_host": "h1", "different_host": "old"})
    assert "hint different_host: host h1 is forced" in told
    told = refused(lived_in, InvalidInput, hints={"cidr": "/24"})
    assert "hints.cidr" in told and "build_near_host_ip" in told


def test_numbers_that_are_none_are_refused_in_a_query(lived_in: Cloud) -> None:
    for query in ('[">=", "$free_ram_mb", NaN]', [">=", "$free_ram_mb", float("nan")]):
        assert "no number" in refused(lived_in, InvalidInput, hints={"query": query})


def test_hosts_where_builds_failed_are_avoided_until_that_has_faded(cloud: Cloud) -> None:
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.count_build("h1", ok=False)
        now_s = time.time()
        score = {host.name: host.failed_builds for host in read_fleet(ledger, cloud, now_s=now_s).hosts}
        later = {host.name: host.failed_builds for host in read_fleet(ledger, cloud, now_s=now_s + 3600).hosts}
    assert 0.99 < score["h1"] <= 1.0 and score["h2"] == 0.0
    assert 0.49 < later["h1"] <= 0.5
    assert placed(cloud) == ["h2"]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.count_build("h1", ok=True)
    assert placed(cloud) == ["h1"]
