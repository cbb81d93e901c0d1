# SPDX-License-Identifier: GPL-3.0-or-later
"""A refresh tells of the guests what it recorded, what it only saw, and what it could not see."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.verbs.call import Call
from berth.verbs.guest_view import guest_view
from berth.verbs.host_refresh import RESULT, finish

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud = _FLOW["cloud"]
REQUEST = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"]}
LATER_S = 60.0


def refresh(cloud: Cloud, facts: dict[str, Any], now_s: float = 1.0) -> dict[str, Any]:
    """Refreshes all hosts; one whose facts are a text did not answer."""
    (cloud.path / "inventory").mkdir(exist_ok=True)
    known = {"groups": ["compute"], "variables": {}, "access": {}}
    inventory = {"problems": [], "compute": list(facts), "groups": {}, "hosts": dict.fromkeys(facts, known)}
    results = {
        name: {RESULT: {"unreachable": True, "msg": said} if isinstance(said, str) else {"host": said}}
        for name, said in facts.items()
    }
    return dict(finish(Call(cloud=cloud, results=results, inventory=inventory, now_s=now_s)))


def facts(name: str, *domains: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = _FLOW["facts"](name, domains=list(domains), boot_id="b", **more)
    return {**made, "collected_at": made["collected_at"] + LATER_S}


@pytest.fixture
def web(cloud: Cloud) -> dict[str, Any]:
    (guest,) = _FLOW["booted"](cloud, REQUEST)["guests"]
    return dict(guest)


def domain(guest: dict[str, Any], state: str) -> dict[str, Any]:
    sizes = {"vcpus": 1, "memory_mib": 512, "disks": [], "macs": []}
    return {"uuid": guest["uuid"], "name": guest["name"], "state": state, "record": {"cloud": "test"}, **sizes}


def others(guest: dict[str, Any]) -> list[str]:
    return sorted({"h1", "h2", "h3"} - {guest["host"]})


def test_a_guest_that_was_stopped_from_inside_is_recorded_and_told(cloud: Cloud, web: dict[str, Any]) -> None:
    rest = {name: facts(name) for name in others(web)}
    (row,) = refresh(cloud, {web["host"]: facts(web["host"], domain(web, "shutdown")), **rest})["guests"]
    assert (row["kind"], row["guest"], row["found"]) == (
        "state", "web", "active (running) is now stopped (shutdown)",
    )  # fmt: skip
    (row,) = refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running")), **rest})["guests"]
    assert row["found"] == "stopped (shutdown) is now active (running)"
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running")), **rest})
    with Ledger.open(cloud.ledger_url) as ledger:
        told = [event for event in ledger.events(web["uuid"]) if event.action.verb == "sync"]
    assert [(step.step, step.host) for event in told for step in event.steps] == [
        ("stopped", web["host"]), ("active", web["host"]),
    ]  # fmt: skip


def test_facts_from_before_a_change_change_nothing(cloud: Cloud, web: dict[str, Any]) -> None:
    """The refresh began before the boot ended: what it saw is not so any more."""
    old = {
        name: {**facts(name), "collected_at": facts(name)["collected_at"] - 2 * LATER_S} for name in ("h1", "h2", "h3")
    }
    assert refresh(cloud, old)["guests"] == []
    with Ledger.open(cloud.ledger_url) as ledger:
        assert (ledger.guest("default", "web").power_state, ledger.guest("default", "web").fault) == ("running", "")


def test_a_guest_elsewhere_is_drift_and_nothing_is_changed(cloud: Cloud, web: dict[str, Any]) -> None:
    here, there = others(web)
    seen = {web["host"]: facts(web["host"]), here: facts(here, domain(web, "running")), there: facts(there)}
    rows = {row["kind"]: row for row in refresh(cloud, seen)["guests"]}
    assert rows["drift"]["host"] == here and "doctor --fix" in rows["drift"]["fix"]
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").host == web["host"]


def test_guests_of_silent_hosts_are_stale_until_they_answer(cloud: Cloud, web: dict[str, Any]) -> None:
    rest = {name: facts(name) for name in others(web)}
    outcome = refresh(cloud, {web["host"]: "no route", **rest})
    assert [(row["kind"], row["guest"]) for row in outcome["guests"]] == [("stale", "web")]
    with Ledger.open(cloud.ledger_url) as ledger:
        silent = ledger.silent_hosts()
        assert silent == {web["host"]: "no route"}
        assert guest_view(ledger.guest("default", "web"), silent)["stale"]
    assert refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running")), **rest})["guests"] == []
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.silent_hosts() == {}


def test_a_host_that_was_installed_anew_is_told_with_its_way_out(cloud: Cloud, web: dict[str, Any]) -> None:
    rest = {name: facts(name) for name in others(web)}
    anew = facts(web["host"], machine_id="another")
    rows = refresh(cloud, {web["host"]: anew, **rest})["guests"]
    assert [row["kind"] for row in rows] == ["quarantine", "stale"]
    assert f"berth host refresh --accept {web['host']}" in rows[0]["fix"]
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").power_state == "running"
        ledger.accept_host(web["host"])
    assert [row["kind"] for row in refresh(cloud, {web["host"]: anew, **rest})["guests"]] == ["state", "missing"]


def test_what_was_recorded_does_not_hide_what_is_to_be_told(cloud: Cloud, web: dict[str, Any]) -> None:
    """Facts are stored some time after they were collected; what is recorded then was so when they were."""
    with Ledger.open(cloud.ledger_url) as ledger, ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE guests SET updated_at = updated_at - 100")
    seen = {name: facts(name) for name in ("h1", "h2", "h3")}
    for host in seen.values():
        host["collected_at"] -= LATER_S + 10
    assert [row["kind"] for row in refresh(cloud, seen)["guests"]] == ["state", "missing"]
