# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot, power and delete between the host steps: a real ledger and catalog, hosts that answer as they are told."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.cloud import Cloud, find_cloud
from berth.domain import HostView, ImageOnHost, guest_definition
from berth.errors import Busy, Conflict, HostFailed, InvalidInput, NotFound, NoValidHost
from berth.ledger import Ledger
from berth.ledger.model import VmState
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs import boot, delete, power
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.call import Call
from berth.verbs.placing import read_fleet

REQUEST = {"name": "web", "count": 2, "flavor": "small", "image": "tiny", "networks": ["lan"]}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIAybggDDnHpMEjC9y0Jn5kcJ3sYPfwbCu4Kpyz3X2v7 host"


def facts(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "collected_at": time.time(),
        "clock_offset_s": 0.0,
        "hostname": name,
        "machine_id": hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(),
        "cpu": {"total": 4},
        "memory_mib": 4096,
        "storage": {"disk_total_mib": 100_000, "disk_free_mib": 90_000, "filesystem": "ext4"},
        "virtualization": {"domain_type": "qemu"},
        "domains": [],
        **changes,
    }


def store(cloud: Cloud, hosts: Mapping[str, dict[str, Any]]) -> None:
    updates = [HostUpdate(name, facts=known, groups=("compute",)) for name, known in hosts.items()]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh(updates, {}, "sha256:0", time.time()))


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    catalog = {
        "flavors": [{"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 2}],
        "images": [{"name": "tiny", "source": "images/tiny.qcow2", "format": "qcow2"}],
        "networks": [{"name": "lan", "kind": "nat", "cidr": "192.168.150.0/24"}],
    }
    (tmp_path / "catalog").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images/tiny.qcow2").write_bytes(b"not opened here")
    for name, entries in catalog.items():
        (tmp_path / f"catalog/{name}.yml").write_text(yaml.safe_dump({name: entries}))
    (tmp_path / "berth.yml").write_text("name: test\n")
    made = find_cloud(tmp_path)
    store(made, {name: facts(name) for name in ("h1", "h2", "h3")})
    return made


def call(cloud: Cloud, **given: Any) -> Call:
    return Call(cloud=cloud, now_s=time.time(), **given)


def answers(work: Mapping[str, Any], refuse: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns what hosts register when they do their work; a host in `refuse` makes nothing, for that reason."""
    said = {}
    for host, share in work.items():
        image = {"name": "tiny", "ok": True, "digest": "sha256:" + "0" * 64, "format": "qcow2"}
        image |= {"virtual_size_bytes": 1 << 30, "size_bytes": 1 << 20}
        guests = [_guest_answer(plan, (refuse or {}).get(host)) for plan in share["plans"]]
        said[host] = {IMAGE_RESULT: {"images": [image]}, GUEST_RESULT: {"guests": guests}}
    return said


def _guest_answer(plan: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    if kind:
        failed = {"ok": False, "kind": kind, "reason": "memory_mib", "message": f"no: {kind}", "steps": ["check"]}
        return {"uuid": plan["uuid"], "state": "absent", **failed}
    return {"uuid": plan["uuid"], "ok": True, "state": "running", "ssh_host_key": KEY, "steps": ["check", "start"]}


def booted(cloud: Cloud, request: Mapping[str, Any] = REQUEST) -> dict[str, Any]:
    begun = boot.begin(call(cloud, request=request))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    boot.record(call(cloud, results=answers(begun["work"]), **passed))
    return boot.finish(call(cloud, **passed))


def test_guests_are_spread_claimed_and_active_with_addresses_and_keys(cloud: Cloud) -> None:
    begun = boot.begin(call(cloud, request=REQUEST))
    assert len(begun["hosts"]) == 2 and set(begun["work"]) == set(begun["hosts"])
    plans = [plan for share in begun["work"].values() for plan in share["plans"]]
    assert {plan["networks"][0]["address"] for plan in plans} == {"192.168.150.2", "192.168.150.3"}
    assert all(plan["limits"]["memory_mib"] == 4096 - 512 for plan in plans)
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    with pytest.raises(Busy, match="web-1, web-2: boot by"):
        boot.begin(call(cloud, request=REQUEST))
    assert boot.record(call(cloud, results=answers(begun["work"]), **passed))["hosts"] == []
    guests = boot.finish(call(cloud, **passed))["guests"]
    assert [(guest["name"], guest["state"]) for guest in guests] == [("web-1", "active"), ("web-2", "active")]
    with Ledger.open(cloud.ledger_url) as ledger:
        assert sum(usage.memory_mib for usage in ledger.usage().values()) == 1024
        assert not ledger.open_actions()
        assert {row.ssh_host_key for row in ledger.guests()} == {KEY}


@pytest.mark.parametrize(("filesystem", "cache"), [("ext4", "none"), ("tmpfs", "writeback"), (None, "none")])
def test_a_plan_has_the_disk_cache_that_its_host_can(cloud: Cloud, filesystem: str | None, cache: str) -> None:
    folder = {"disk_total_mib": 100_000, "disk_free_mib": 90_000, "filesystem": filesystem}
    store(cloud, {name: facts(name, storage=folder) for name in ("h1", "h2", "h3")})
    (share,) = boot.begin(call(cloud, request={**REQUEST, "count": 1}))["work"].values()
    (plan,) = share["plans"]
    image = ImageOnHost("/images/a.qcow2", "qcow2", "sha256:00", 1 << 30)
    assert f'cache="{cache}"' in guest_definition(plan, image=image, host=HostView())["xml"]


def test_the_same_request_again_changes_nothing_and_a_larger_count_adds(cloud: Cloud) -> None:
    before = booted(cloud)["guests"]
    again = boot.begin(call(cloud, request=REQUEST))
    assert (again["changed"], again["hosts"], len(again["uuids"])) == (False, [], 2)
    after = booted(cloud, {**REQUEST, "count": 3})["guests"]
    assert after[:2] == before and after[2]["name"] == "web-3"


def test_another_request_of_a_taken_name_is_refused_and_says_where_the_first_is(cloud: Cloud) -> None:
    booted(cloud)
    with pytest.raises(Conflict) as caught:
        boot.begin(call(cloud, request={**REQUEST, "metadata": {"a": "b"}}))
    assert len(caught.value.details) == 2
    assert all("web-" in line and "host h" in line for line in caught.value.details)


def test_a_refusing_host_leads_to_an_alternate_and_all_refusing_to_error(cloud: Cloud) -> None:
    begun = boot.begin(call(cloud, request={**REQUEST, "count": 1}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    tried = []
    work = begun["work"]
    for _round in range(3):
        tried += sorted(work)
        refuse = dict.fromkeys(work, "host")
        work = boot.record(call(cloud, results=answers(work, refuse), **passed))["work"]
    assert sorted(tried) == ["h1", "h2", "h3"] and work == {}
    with pytest.raises(HostFailed) as caught:
        boot.finish(call(cloud, **passed))
    assert all(host in caught.value.details[0] for host in ("h1", "h2", "h3"))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guests()[0].vm_state is VmState.ERROR
        assert ledger.usage() == {}


def test_a_request_that_no_host_can_serve_is_not_tried_elsewhere(cloud: Cloud) -> None:
    begun = boot.begin(call(cloud, request={**REQUEST, "count": 1}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    refused = answers(begun["work"], dict.fromkeys(begun["work"], "request"))
    assert boot.record(call(cloud, results=refused, **passed))["work"] == {}
    with pytest.raises(HostFailed, match="did not boot"):
        boot.finish(call(cloud, **passed))


def test_no_host_fits_lists_every_host_and_leaves_nothing(cloud: Cloud) -> None:
    store(cloud, {name: facts(name, memory_mib=600) for name in ("h1", "h2", "h3")})
    with pytest.raises(NoValidHost) as caught:
        boot.begin(call(cloud, request=REQUEST))
    assert {line.split(":")[0] for line in caught.value.details} >= {"h1", "h2", "h3"}
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guests() == [] and ledger.usage() == {} and not ledger.open_actions()


def test_all_unknown_names_are_told_at_once(cloud: Cloud) -> None:
    with pytest.raises(NotFound) as caught:
        boot.begin(call(cloud, request={**REQUEST, "flavor": "smal", "image": "tinny", "networks": ["lam"]}))
    told = "\n".join(caught.value.details)
    assert all(f"did you mean {name}" in told.replace("'", "") for name in ("small", "tiny", "lan"))


def test_a_dry_run_books_nothing(cloud: Cloud) -> None:
    outcome = boot.begin(call(cloud, request=REQUEST, check_mode=True))
    assert outcome["changed"] and len(outcome["placements"]) == 2 and outcome["hosts"] == []
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guests() == []


def test_domains_of_others_count_and_their_macs_are_not_given(cloud: Cloud) -> None:
    stranger = {"uuid": "s", "name": "s", "state": "running", "vcpus": 1, "memory_mib": 3300, "disks": []}
    stranger |= {"macs": ["52:54:00:00:00:01"], "record": {"cloud": "another"}}
    store(cloud, {name: facts(name, domains=[stranger]) for name in ("h1", "h2", "h3")})
    with pytest.raises(NoValidHost):
        boot.begin(call(cloud, request=REQUEST))


@pytest.mark.parametrize(("seen_s", "used"), [(-60.0, 0), (60.0, 1)], ids=["seen before", "seen after"])
def test_what_a_deleted_guest_left_counts_when_it_was_seen_after_the_deletion(
    cloud: Cloud, seen_s: float, used: int
) -> None:
    (guest,) = booted(cloud, {**REQUEST, "count": 1})["guests"]
    left = {"uuid": guest["uuid"], "name": "web-1", "state": "shutdown", "vcpus": 1, "memory_mib": 512, "disks": []}
    left |= {"macs": [], "record": {"cloud": "test"}}
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.delete_guests([guest["uuid"]])
        late = time.time() + seen_s + 5.0  # on a host whose clock is five seconds ahead
        store(cloud, {guest["host"]: facts(guest["host"], domains=[left], collected_at=late, clock_offset_s=5.0)})
        fleet = read_fleet(ledger, cloud)
    assert {host.name: host.vcpus_used for host in fleet.hosts}[guest["host"]] == used


def test_power_follows_the_hosts_answer(cloud: Cloud) -> None:
    booted(cloud)
    begun = power.begin(call(cloud, request={"names": ["web-1"], "action": "stop"}))
    (host,) = begun["hosts"]
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    silent = {host: {GUEST_RESULT: {"unreachable": True, "msg": "no route"}}}
    with pytest.raises(HostFailed, match="did not change") as caught:
        power.finish(call(cloud, results=silent, **passed))
    assert "no route" in caught.value.details[0]
    begun = power.begin(call(cloud, request={"names": ["web-1"], "action": "stop"}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    off = {host: {GUEST_RESULT: {"guests": [{"uuid": begun["uuids"][0], "ok": True, "state": "shutdown"}]}}}
    assert power.finish(call(cloud, results=off, **passed))["guests"][0]["state"] == "stopped"
    with pytest.raises(Conflict, match="cannot reboot while it is stopped"):
        power.begin(call(cloud, request={"names": ["web-1"], "action": "reboot"}))
    with pytest.raises(InvalidInput, match="unknown action"):
        power.begin(call(cloud, request={"names": ["web-1"], "action": "explode"}))


def test_delete_forgets_only_what_its_host_let_go_of(cloud: Cloud) -> None:
    booted(cloud)
    begun = delete.begin(call(cloud, request={"names": ["web-1", "web-2"]}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    first, second = begun["hosts"]
    gone = begun["work"][first]["guests"][0]["uuid"]
    said = {first: {GUEST_RESULT: {"guests": [{"uuid": gone, "ok": True, "state": "absent"}]}}, second: {}}
    with pytest.raises(HostFailed, match="1 of 2 guests could not be deleted"):
        delete.finish(call(cloud, results=said, **passed))
    with Ledger.open(cloud.ledger_url) as ledger:
        left = ledger.guests()
        assert [row.host for row in left] == [second] and "delete" in str(left[0].fault)
        assert list(ledger.usage()) == [second]
    with pytest.raises(NotFound, match="did you mean web-"):
        delete.begin(call(cloud, request={"names": ["web"]}))
