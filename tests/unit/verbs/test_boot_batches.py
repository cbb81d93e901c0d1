# SPDX-License-Identifier: GPL-3.0-or-later
"""Boots of several guests: quotas, as many as fit, all or nothing, and hosts whose failed builds count."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.cloud import Cloud
from berth.errors import Conflict, HostFailed, NoValidHost, Partial
from berth.ledger import Ledger
from berth.ledger.claiming import ClaimRefused
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.quota import QuotaExceeded
from berth.ledger.rows import ActionRequest, BootRecord, Claim, NewGuest, Resources
from berth.verbs import booking, boot, delete, placing
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud = _FLOW["cloud"]
call, answers, facts, store = (_FLOW[name] for name in ("call", "answers", "facts", "store"))
REQUEST = {"name": "web", "count": 6, "flavor": "small", "image": "tiny", "networks": ["lan"]}


def limit(cloud: Cloud, **quota: int) -> None:
    projects = {"projects": [{"name": "default", "quota": quota}]}
    (cloud.path / "catalog/projects.yml").write_text(yaml.safe_dump(projects))


def run(cloud: Cloud, request: Mapping[str, Any], refuse: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Boots on hosts that do what they are told; guests whose name is in `refuse` are refused, for that reason."""
    begun = boot.begin(call(cloud, request=request))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"], "kept": begun["kept"]}}
    work, undo = begun["work"], None
    while work:
        outcome = boot.record(call(cloud, results=_answers(work, refuse or {}), **passed))
        work, undo = outcome["work"], outcome["undo"]
    removed = {
        host: {
            GUEST_RESULT: {"guests": [{"uuid": one["uuid"], "ok": True, "state": "absent"} for one in share["guests"]]}
        }
        for host, share in (undo or {"work": {}})["work"].items()
    }
    passed["request"] = {**passed["request"], "undo": undo or {}}
    return {**boot.finish(call(cloud, results=removed, **passed)), "left_out": begun.get("left_out")}


def _answers(work: Mapping[str, Any], refuse: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = answers(work)
    for answer in said.values():
        items = answer[GUEST_RESULT]["guests"]
        answer[GUEST_RESULT]["guests"] = [
            _refused(item, kind) if (kind := _kind(work, item, refuse)) else item for item in items
        ]
    return said


def _kind(work: Mapping[str, Any], item: Mapping[str, Any], refuse: Mapping[str, str]) -> str | None:
    names = {plan["uuid"]: plan["name"] for share in work.values() for plan in share["plans"]}
    return refuse.get(names[item["uuid"]])


def _refused(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    told, _, reason = kind.partition("/")
    failed = {"ok": False, "kind": told, "reason": reason or "start", "message": f"no: {kind}", "steps": ["check"]}
    return {"uuid": item["uuid"], "state": "absent", **failed}


def names(cloud: Cloud) -> dict[str, str]:
    with Ledger.open(cloud.ledger_url) as ledger:
        return {row.name: str(row.vm_state) for row in ledger.guests()}


def test_a_quota_is_refused_with_everything_it_lacks_and_books_nothing(cloud: Cloud) -> None:
    limit(cloud, instances=5, cores=100, ram_mib=1024, server_groups=0, metadata_items=0, injected_files=0)
    request = {**REQUEST, "group": {"name": "g", "policy": "soft-anti-affinity"}, "metadata": {"a": "b"}}
    with pytest.raises(QuotaExceeded) as caught:
        boot.begin(call(cloud, request={**request, "user_data": "#cloud-config"}))
    told = {item["amount"] for item in caught.value.data["exceeded"]}
    assert told == {"guests", "memory_mib", "metadata_items", "injected_files"}
    assert "project default: guests 0 used, 6 more asked for, allowed: 5" in caught.value.details
    assert "berth quota show default" in caught.value.hint
    limit(cloud, server_groups=0)
    with pytest.raises(QuotaExceeded, match="server_groups 0 used, 1 more asked for, allowed: 0"):
        boot.begin(call(cloud, request=request))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert (ledger.guests(), ledger.groups(), ledger.open_actions()) == ([], [], [])


@pytest.mark.parametrize(("quota", "made"), [({"instances": 4}, 4), ({"ram_mib": 512 * 5}, 5), ({}, 6)])
def test_a_count_is_lowered_to_the_quota(cloud: Cloud, quota: dict[str, int], made: int) -> None:
    limit(cloud, **quota)
    done = run(cloud, {**REQUEST, "min_count": 4})
    assert [guest["name"] for guest in done["guests"]] == [f"web-{number}" for number in range(1, made + 1)]
    assert done["left_out"] == [f"web-{number}" for number in range(made + 1, 7)]
    again = boot.begin(call(cloud, request={**REQUEST, "min_count": 4}))
    assert again["work"] == {} and len(again["uuids"]) == made


def test_a_count_is_lowered_to_what_the_hosts_hold_but_not_below_its_least(cloud: Cloud) -> None:
    room = {"h1": 512 + 2 * 512, "h2": 512 + 2 * 512, "h3": 600}
    store(cloud, {name: facts(name, memory_mib=memory_mib) for name, memory_mib in room.items()})
    with pytest.raises(NoValidHost):
        boot.begin(call(cloud, request={**REQUEST, "min_count": 5}))
    assert names(cloud) == {}
    assert len(run(cloud, {**REQUEST, "min_count": 4})["guests"]) == 4
    limit(cloud, instances=3)
    with pytest.raises(QuotaExceeded):
        boot.begin(call(cloud, request={**REQUEST, "name": "db", "min_count": 1}))


def test_without_partial_a_guest_that_fails_takes_the_others_with_it(cloud: Cloud) -> None:
    with pytest.raises(HostFailed) as caught:
        run(cloud, {**REQUEST, "count": 3}, {"web-2": "request"})
    assert names(cloud) == {"web-2": "error"}
    assert [line for line in caught.value.details if "removed again" in line]
    assert "--partial" in caught.value.hint and "berth delete web-2" in caught.value.hint
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.usage() == {} and ledger.open_actions() == []


def test_a_run_that_dies_while_it_takes_guests_back_is_finished_by_a_delete(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.getppid", lambda: 2**22 + 1)  # no process: whoever it is has died
        begun = boot.begin(call(cloud, request={**REQUEST, "count": 3}))
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        outcome = boot.record(call(cloud, results=_answers(begun["work"], {"web-2": "request"}), **passed))
    assert outcome["undo"]["hosts"]
    with pytest.raises(Conflict) as caught:
        boot.begin(call(cloud, request={**REQUEST, "count": 3}))
    assert sum("it is being deleted" in line for line in caught.value.details) == 2
    deleted = delete.begin(call(cloud, request={"names": ["web-1", "web-2", "web-3"]}))
    said = {
        host: {GUEST_RESULT: {"guests": [{"uuid": one["uuid"], "ok": True} for one in share["guests"]]}}
        for host, share in deleted["work"].items()
    }
    delete.finish(call(cloud, action_id=deleted["action"], request={"uuids": deleted["uuids"]}, results=said))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert (ledger.guests(), ledger.usage(), ledger.open_actions()) == ([], {}, [])


def test_with_partial_the_others_stay(cloud: Cloud) -> None:
    with pytest.raises(Partial) as caught:
        run(cloud, {**REQUEST, "count": 3, "partial": True}, {"web-2": "request"})
    assert names(cloud) == {"web-1": "active", "web-2": "error", "web-3": "active"}
    assert [guest["state"] for guest in caught.value.data["guests"]] == ["active", "error", "active"]


def test_guests_of_an_earlier_run_are_not_taken_back(cloud: Cloud) -> None:
    run(cloud, {**REQUEST, "count": 2})
    with pytest.raises(HostFailed):
        run(cloud, {**REQUEST, "count": 4}, {"web-4": "request"})
    assert names(cloud) == {"web-1": "active", "web-2": "active", "web-4": "error"}


@pytest.mark.parametrize(
    ("kind", "counted"), [("host", True), ("host/memory", True), ("host/group", False), ("request", False)]
)
def test_failed_builds_count_against_the_host_that_failed(cloud: Cloud, kind: str, counted: bool) -> None:
    with pytest.raises(HostFailed):
        run(cloud, {**REQUEST, "count": 1}, {"web": kind})
    with Ledger.open(cloud.ledger_url) as ledger:
        assert any(row.failure_score for row in ledger.hosts()) is counted
        tried = [row.name for row in ledger.hosts() if row.failure_score]
    if counted:
        assert len(tried) == 3
        done = run(cloud, {**REQUEST, "name": "db", "count": 1})
        with Ledger.open(cloud.ledger_url) as ledger:
            assert not ledger.host(done["guests"][0]["host"]).failure_score


def test_a_host_that_was_silent_counts_as_failed(cloud: Cloud) -> None:
    begun = boot.begin(call(cloud, request={**REQUEST, "count": 1}))
    (host,) = begun["hosts"]
    silent = {host: {IMAGE_RESULT: {"unreachable": True, "msg": "no route"}}}
    boot.record(call(cloud, results=silent, action_id=begun["action"], request={"uuids": begun["uuids"]}))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.host(host).failure_score > 0


def test_a_claim_decided_on_what_has_changed_is_decided_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run books on the very host between the look at the fleet and the booking: the loser looks again."""
    decide, seen = placing.decide, []

    def decide_and_lose(ledger: Ledger, *given: Any, **more: Any) -> Any:
        decision, fleet = decide(ledger, *given, **more)
        seen.append(decision.placements[0].host)
        if len(seen) == 1:
            other = NewGuest("other", "p", "other", "f", "i", Resources(1, 64, 1))
            action = ledger.begin_action(ActionRequest(Verb.BOOT, "p", ("other",), "r"), Owner.of_process())
            roomy = Resources(99, 99_999, 999_999)
            ledger.record_boot(action.id, BootRecord((other,), (Claim("other", seen[0], other.resources, roomy),)))
        return decision, fleet

    monkeypatch.setattr(placing, "decide", decide_and_lose)
    done = run(cloud, {**REQUEST, "count": 1})
    assert len(seen) == 2 and seen[0] != seen[1] == done["guests"][0]["host"]
    monkeypatch.setattr(placing, "decide", decide)
    monkeypatch.setattr(booking, "CLAIM_ATTEMPTS", 2)
    monkeypatch.setattr(Ledger, "record_boot", _refuse)
    with pytest.raises(ClaimRefused):
        run(cloud, {**REQUEST, "name": "db"})


def _refuse(*_: Any) -> None:
    raise ClaimRefused("another run was faster")
