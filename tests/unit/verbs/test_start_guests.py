# SPDX-License-Identifier: GPL-3.0-or-later
"""After a host's boot: which of its guests are started, and what becomes of the others."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import HostFailed
from berth.ledger import Ledger
from berth.ledger.model import PowerState, VmState
from berth.ledger.rows import GuestResult, GuestRow
from berth.verbs import start_guests
from berth.verbs.boot_verdict import GUEST_RESULT
from berth.verbs.journal import write_intent

_SYNC = runpy.run_path(str(Path(__file__).with_name("test_sync.py")))
cloud = _SYNC["cloud"]
call, domain, facts = _SYNC["_FLOW"]["call"], _SYNC["domain"], _SYNC["facts"]
REQUEST = {"count": 2, "flavor": "small", "image": "tiny", "networks": ["lan"], "hints": {"destination": "h1"}}
HOSTS = ("h1", "h2", "h3")


@pytest.fixture
def pair(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """Two active guests on h1, by name."""
    return {guest["name"]: guest for guest in _SYNC["_FLOW"]["booted"](cloud, {"name": "web", **REQUEST})["guests"]}


class Run:
    """One run of host_start_guests.yml: `domains` maps a host to what it shows; `silent` do not answer."""

    def __init__(self, cloud: Cloud, domains: dict[str, list[Any]], silent: tuple[str, ...] = ()) -> None:
        self.cloud = cloud
        self.begun = start_guests.begin(call(cloud, request={"host": "h1"}))
        shown = {host: {"host": facts(host, *domains.get(host, []))} for host in HOSTS if host not in silent}
        self.looks = {host: {start_guests.FACTS_RESULT: shown.get(host, {"unreachable": True})} for host in HOSTS}

    def compare(self) -> dict[str, Any]:
        request = {"host": "h1", **{key: self.begun[key] for key in ("uuids", "locked")}}
        self.begun = start_guests.compare(
            call(self.cloud, action_id=self.begun["action"], request=request, results=self.looks)
        )
        return self.begun

    def finish(self, failing: tuple[str, ...] = ()) -> dict[str, Any]:
        """The host starts what it was told to, but for the failing UUIDs."""
        for host, share in self.begun["work"].items():
            write_intent(share["journal"], "power", host)
        said = [
            {"uuid": guest["uuid"], "ok": guest["uuid"] not in failing, "changed": True, "message": "no memory"}
            for share in self.begun["work"].values()
            for guest in share["guests"]
        ]
        results = {host: {GUEST_RESULT: {"guests": said}} for host in self.begun["hosts"]}
        request = {key: self.begun[key] for key in ("uuids", "locked")}
        return start_guests.finish(call(self.cloud, action_id=self.begun["action"], request=request, results=results))


def names(outcome: dict[str, Any]) -> list[str]:
    return [guest["name"] for share in outcome["work"].values() for guest in share["guests"]]


def row(cloud: Cloud, name: str) -> GuestRow:
    with Ledger.open(cloud.ledger_url) as ledger:
        return ledger.guest("default", name)


def last_event(cloud: Cloud, uuid: str) -> tuple[Any, ...]:
    """Returns verb, error and the steps (name, host, outcome, error) of the last thing that was done to a guest."""
    with Ledger.open(cloud.ledger_url) as ledger:
        event = ledger.events(uuid)[-1]
    steps = [(step.step, step.host, step.outcome, step.error) for step in event.steps]
    return event.action.verb, event.action.error, steps


def at_rest(cloud: Cloud) -> bool:
    with Ledger.open(cloud.ledger_url) as ledger:
        return ledger.open_actions() == [] and all(row.task_state is None for row in ledger.guests())


def test_what_is_off_is_started_and_nothing_else(cloud: Cloud, pair: dict[str, Any]) -> None:
    run = Run(cloud, {"h1": [domain(pair["web-1"], "shutdown"), domain(pair["web-2"], "running")]})
    assert names(run.compare()) == ["web-1"]
    assert [(guest["name"], guest["power"]) for guest in run.finish()["guests"]] == [("web-1", "running")]
    assert at_rest(cloud)


def test_a_start_is_in_the_events_of_each_guest_of_every_project(cloud: Cloud, pair: dict[str, Any]) -> None:
    (cloud.path / "catalog/projects.yml").write_text("projects: [{name: default}, {name: other}]")
    request = {"name": "db", **REQUEST, "project": "other", "count": 1}
    (other,) = _SYNC["_FLOW"]["booted"](cloud, request)["guests"]
    run = Run(cloud, {"h1": [domain(pair["web-1"], "running")]})
    assert sorted(names(run.compare())) == ["other.db", "web-2"]
    with pytest.raises(HostFailed):
        run.finish(failing=(pair["web-2"]["uuid"],))
    assert last_event(cloud, other["uuid"]) == ("start", None, [("power", "h1", "ok", None)])
    failed = [("power", "h1", "failed", "no memory")]
    assert last_event(cloud, pair["web-2"]["uuid"]) == ("start", "guest web-2: no memory", failed)
    assert last_event(cloud, pair["web-1"]["uuid"])[0] == "boot" and at_rest(cloud)


def test_a_copy_elsewhere_or_a_silent_host_ends_it(cloud: Cloud, pair: dict[str, Any]) -> None:
    run = Run(cloud, {"h1": [], "h2": [domain(pair["web-1"], "paused")]}, silent=("h3",))
    with pytest.raises(HostFailed) as caught:
        run.compare()
    assert caught.value.details == (
        "these hosts do not answer and may run them: h3", "guest web-1 is paused on host h2",
    )  # fmt: skip
    assert at_rest(cloud)


def test_locked_guests_are_left_out_and_listed(cloud: Cloud, pair: dict[str, Any]) -> None:
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.lock_guests([pair["web-1"]["uuid"]], by="me", reason="broken disk")
    run = Run(cloud, {"h2": [domain(pair["web-1"], "running")]})  # nor is its copy a reason to start none
    assert names(run.compare()) == ["web-2"]
    (started, locked) = run.finish()["guests"]
    assert (started["name"], started["locked"], locked["name"]) == ("web-2", None, "web-1")
    assert (locked["locked"]["by"], locked["locked"]["reason"]) == ("me", "broken disk")
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.lock_guests([pair["web-2"]["uuid"]], by="me", reason="")
    run = Run(cloud, {})
    assert names(run.compare()) == [] and run.begun["action"] == ""
    assert {guest["name"] for guest in run.finish()["guests"]} == {"web-1", "web-2"} and at_rest(cloud)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}, id="stopped"),
        pytest.param({"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING, "host": "h2"}, id="moved"),
    ],
)
def test_a_guest_that_changed_before_it_was_held_is_left_out(
    cloud: Cloud, pair: dict[str, Any], change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Ledger.begin_action

    def late(ledger: Ledger, *given: Any) -> Any:
        ledger.finish_guests([GuestResult(pair["web-1"]["uuid"], **change)])
        return held(ledger, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "begin_action", late)
        run = Run(cloud, {})
    assert names(run.compare()) == ["web-2"]
    run.finish()
    assert row(cloud, "web-1").vm_state is change["vm_state"] and at_rest(cloud)


def test_a_guest_that_does_not_start_stays_what_it_was(cloud: Cloud, pair: dict[str, Any]) -> None:
    run = Run(cloud, {})
    run.compare()
    with Ledger.open(cloud.ledger_url) as ledger:  # a refresh sees it meanwhile
        ledger.finish_guests([GuestResult(pair["web-1"]["uuid"], VmState.STOPPED, PowerState.SHUTDOWN)])
    with pytest.raises(HostFailed, match="2 of 2 guests did not start"):
        run.finish(failing=(pair["web-1"]["uuid"], pair["web-2"]["uuid"]))
    assert (row(cloud, "web-1").vm_state, row(cloud, "web-2").vm_state) == (VmState.STOPPED, VmState.ACTIVE)
    assert row(cloud, "web-1").fault == "no memory" and at_rest(cloud)
