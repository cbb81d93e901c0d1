# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's findings of ledger and hosts, and what becomes of those that are mended."""

from __future__ import annotations

import os
import re
import runpy
import time
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.ledger.model import VmState
from berth.spec.load import load_catalog
from berth.verbs import care, delete, host_mend, power
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.call import Call

_SYNC = runpy.run_path(str(Path(__file__).with_name("test_sync.py")))
cloud = _SYNC["cloud"]
web = _SYNC["web"]
call, domain, facts, others, refresh = (
    _SYNC["_FLOW"]["call"], _SYNC["domain"], _SYNC["facts"], _SYNC["others"], _SYNC["refresh"],
)  # fmt: skip
NO_PROCESS = 2**22 + 1
UNKNOWN = "4b1d0000-0000-4000-8000-000000000001"
IMAGE = f"sha256-{'1' * 64}.qcow2"


def examined(cloud: Cloud, now_s: float = 1e10) -> dict[str, dict[str, str]]:
    """Returns key or check -> finding, of everything but the hosts' health."""
    catalog = load_catalog(cloud.catalog_path)
    with Ledger.open(cloud.ledger_url) as ledger:
        differences = care.all_differences(ledger, cloud.name, catalog)
        found = care.care_findings(ledger, differences, ("h1", "h2", "h3"), now_s)
    return {finding.key or finding.check: finding.to_dict() for finding in found}


def mend(cloud: Cloud, keys: list[str], results: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    begun = host_mend.begin(call(cloud, request={"keys": keys}))
    request = {"mended": begun["mended"], "work": begun["work"]}
    done = host_mend.finish(call(cloud, request=request, results=results or {}))
    return begun["work"], {row["key"]: (row["ok"], row["message"]) for row in done["mended"]}


def test_a_guest_that_was_moved_by_hand_is_recorded_where_it_is(cloud: Cloud, web: dict[str, Any]) -> None:
    here, there = others(web)
    moved = {**domain(web, "running"), "record": {"cloud": "test", "instance_dir": "/elsewhere/x"}}
    refresh(cloud, {web["host"]: facts(web["host"]), here: facts(here, moved), there: facts(there)})
    key = f"moved:{here}:{web['uuid']}"
    assert examined(cloud)[key]["mend"] == "ask"
    work, done = mend(cloud, [key])
    assert (work, done) == ({}, {key: (True, f"guest web is recorded on {here}")})
    with Ledger.open(cloud.ledger_url) as ledger:
        row = ledger.guest("default", "web")
        assert (row.host, row.plan["instance_dir"]) == (here, "/elsewhere/x")
        assert [claim.host for claim in ledger.claims_of([row.uuid])] == [here] and ledger.check() == []
        (*_boot, event) = ledger.events(row.uuid)
    assert (event.action.verb, [(step.step, step.host) for step in event.steps]) == ("sync", [("moved", here)])
    assert mend(cloud, [key]) == ({}, {})


def test_what_is_left_of_deleted_guests_goes_and_what_nobody_knows_only_when_named(
    cloud: Cloud, web: dict[str, Any]
) -> None:
    begun = delete.begin(call(cloud, request={"names": ["web"]}))
    gone = {web["host"]: {GUEST_RESULT: {"guests": [{"uuid": web["uuid"], "ok": True, "state": "absent"}]}}}
    delete.finish(call(cloud, action_id=begun["action"], request={"uuids": begun["uuids"]}, results=gone))
    left = {
        "instances": [
            {"uuid": web["uuid"], "own": ["disk.qcow2", "seed.iso"], "other": []},
            {"uuid": UNKNOWN, "own": ["disk.qcow2"], "other": []},
        ],
        "consoles": [web["uuid"]],
        "images": [IMAGE],
    }
    refresh(cloud, {name: facts(name, files=left) if name == "h1" else facts(name) for name in ("h1", "h2", "h3")})
    found = examined(cloud)
    safe = {key for key, finding in found.items() if finding["mend"] == "safe"}
    mine = {f"{kind}:h1:{web['uuid']}" for kind in ("orphan_disk", "orphan_seed", "orphan_console")}
    asked = {f"orphan_disk:h1:{UNKNOWN}", f"unused_image:h1:{IMAGE}"}
    assert safe == mine and set(found) == mine | asked
    said = {
        GUEST_RESULT: {"guests": [{"uuid": web["uuid"], "ok": True}, {"uuid": UNKNOWN, "ok": False, "message": "no"}]}
    }
    said[IMAGE_RESULT] = {"images": [{"name": IMAGE, "ok": True, "message": None}]}
    work, done = mend(cloud, sorted(safe), {"h1": said})
    assert [guest["uuid"] for guest in work["h1"]["guests"]] == [web["uuid"]] and work["h1"]["images"] == []
    assert work["h1"]["guests"][0]["instance_dir"].endswith(f"/{web['uuid']}")
    assert {key: ok for key, (ok, _message) in done.items()} == dict.fromkeys(mine, True)
    work, done = mend(cloud, sorted(asked), {"h1": said})
    assert work["h1"]["images"][0]["digest"] == "sha256:" + "1" * 64
    assert {key: ok for key, (ok, _message) in done.items()} == {
        f"orphan_disk:h1:{UNKNOWN}": False, f"unused_image:h1:{IMAGE}": True,
    }  # fmt: skip
    assert mend(cloud, sorted(asked))[1][f"unused_image:h1:{IMAGE}"] == (False, "the host did not answer")


def test_a_run_that_died_is_told_with_its_age_and_owner_and_lets_go(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "getppid", lambda: NO_PROCESS)
        begun = power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))
    found = examined(cloud)
    stuck = found[f"repair:{begun['action']}"]
    assert stuck["check"] == "stuck_action" and stuck["mend"] == "safe"
    assert "stop of web" in stuck["found"] and f"pid {NO_PROCESS} since" in stuck["found"]
    assert f"stuck_power:{web['uuid']}" in found
    key = f"stuck_power:{web['uuid']}"
    assert not mend(cloud, [key])[1][key][0]  # its host has not been looked at
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "shutdown"))})
    _work, done = mend(cloud, [key for key, finding in found.items() if finding["mend"] == "safe"])
    assert done[key] == (True, "guest web is stopped (shutdown)")
    with Ledger.open(cloud.ledger_url) as ledger:
        row = ledger.guest("default", "web")
        assert (row.vm_state, row.task_state) == (VmState.STOPPED, None)
        assert ledger.open_actions() == [] and ledger.check() == []
        (*_others, event) = ledger.events(row.uuid)
    assert event.action.verb == "stop" and event.action.id != begun["action"]
    assert [(step.step, step.host, step.outcome) for step in event.steps] == [("settle", web["host"], "ok")]


def test_a_run_that_lives_is_left_alone(cloud: Cloud, web: dict[str, Any]) -> None:
    begun = power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))
    found = examined(cloud)  # ten thousand million seconds after the epoch: the run is older than an hour
    assert "not known to be dead" in found["stuck_action"]["found"] and found["stuck_action"]["mend"] == ""
    assert mend(cloud, [f"repair:{begun['action']}", f"stuck_power:{web['uuid']}"]) == ({}, {})
    with Ledger.open(cloud.ledger_url) as ledger:
        assert [action.id for action in ledger.open_actions()] == [begun["action"]]


def test_a_run_that_was_resumed_just_now_is_not_stuck(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = call(cloud, request={"names": ["web"], "action": "stop"})
    with monkeypatch.context() as patched:
        patched.setattr(os, "getppid", lambda: NO_PROCESS)
        first = power.begin(asked)
    with Ledger.open(cloud.ledger_url) as ledger, ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE actions SET started_at = started_at - 86400")
    assert power.begin(asked)["action"] == first["action"]
    assert "stuck_action" not in examined(cloud, time.time())
    assert " since 720" in examined(cloud, time.time() + 7200)["stuck_action"]["found"]


def test_the_playbook_is_one_of_the_conductors(cloud: Cloud) -> None:
    assert isinstance(call(cloud), Call) and host_mend.begin(call(cloud, request={"keys": []}))["hosts"] == []


def test_of_a_locked_guest_nothing_is_mended(cloud: Cloud, web: dict[str, Any]) -> None:
    here, there = others(web)
    refresh(cloud, {web["host"]: facts(web["host"]), here: facts(here, domain(web, "running")), there: facts(there)})
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.lock_guests([web["uuid"]], by="me@here", reason="audit")
    key = f"moved:{here}:{web['uuid']}"
    work, done = mend(cloud, [key])
    assert work == {} and not done[key][0]
    assert re.fullmatch(r"its guest is locked by me@here since 20\S+: audit", done[key][1])
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").host == web["host"]


def test_of_a_twin_only_the_definition_goes(cloud: Cloud, web: dict[str, Any]) -> None:
    """Hosts may share their folders: the copy's disk may be the guest's own."""
    here, there = others(web)
    seen = {web["host"]: facts(web["host"], domain(web, "running")), here: facts(here, domain(web, "shutdown"))}
    refresh(cloud, {**seen, there: facts(there)})
    key = f"twin:{here}:{web['uuid']}"
    said = {here: {GUEST_RESULT: {"guests": [{"uuid": web["uuid"], "ok": True}]}}}
    work, done = mend(cloud, [key], said)
    assert [sorted(guest) for guest in work[here]["guests"]] == [["keys", "name", "uuid"]] and list(work) == [here]
    assert done == {key: (True, "")}
