# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete: what it finds when it holds the guests, and what a failure leaves of them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import Conflict, HostFailed, InvalidInput, NotFound
from berth.ledger import Ledger
from berth.ledger.model import PowerState, VmState
from berth.ledger.rows import GuestResult, HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs import delete

_MEND = runpy.run_path(str(Path(__file__).with_name("test_mend.py")))
cloud, web, call, domain, examined, facts, others, refresh = (
    _MEND[name] for name in ("cloud", "web", "call", "domain", "examined", "facts", "others", "refresh")
)
STOPPED = (VmState.STOPPED, PowerState.SHUTDOWN)


def test_what_was_recorded_before_the_guest_was_held_stays(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Ledger.begin_action

    def late(ledger: Ledger, *given: Any) -> Any:
        ledger.finish_guests([GuestResult(web["uuid"], *STOPPED)])
        return held(ledger, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "begin_action", late)
        begun = delete.begin(call(cloud, request={"names": ["web"]}))
    silent = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}, "results": {web["host"]: {}}}
    with pytest.raises(HostFailed):
        delete.finish(call(cloud, **silent))
    with Ledger.open(cloud.ledger_url) as ledger:
        row = ledger.guest("default", "web")
        assert (row.vm_state, row.power_state, row.task_state) == (*STOPPED, None)


def test_what_is_recorded_while_it_is_being_marked_is_not_written_over(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = Ledger.begin_step

    def late(ledger: Ledger, *given: Any, **more: Any) -> None:
        ledger.finish_guests([GuestResult(web["uuid"], *STOPPED)])
        marked(ledger, *given, **more)

    monkeypatch.setattr(Ledger, "begin_step", late)
    with pytest.raises(Conflict, match="guest web: found stopped"):
        delete.begin(call(cloud, request={"names": ["web"]}))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").vm_state is VmState.STOPPED and ledger.open_actions() == []


def test_a_guest_that_another_run_forgot_meanwhile_is_unknown(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Ledger.begin_action

    def late(ledger: Ledger, *given: Any) -> Any:
        ledger.delete_guests([web["uuid"]])
        return held(ledger, *given)

    monkeypatch.setattr(Ledger, "begin_action", late)
    with pytest.raises(NotFound):
        delete.begin(call(cloud, request={"names": ["web"]}))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest_by_uuid(web["uuid"]).task_state is None and ledger.open_actions() == []


def gone(host: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names or ("web",)), "host_is_gone": host, **more}


def forgotten(cloud: Cloud, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs guest_delete.yml, in which no host may get anything to do."""
    begun = delete.begin(call(cloud, request=request))
    assert (begun["hosts"], begun["work"]) == ([], {})
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    return list(delete.finish(call(cloud, **passed))["guests"])


def make_silent(cloud: Cloud, host: str) -> None:
    with Ledger.open(cloud.ledger_url) as ledger:
        others = [HostUpdate(row.name, asked=False) for row in ledger.hosts() if row.name != host]
        silent = HostUpdate(host, unreachable_message="no route")
        ledger.store_hosts(Refresh([silent, *others], {}, "d", 1.0))


def disable(cloud: Cloud, host: str) -> None:
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.set_host_enabled(host, False)


def take_out_of_inventory(cloud: Cloud, host: str) -> None:
    refresh(cloud, {name: facts(name) for name in sorted({"h1", "h2", "h3"} - {host})})


@pytest.mark.parametrize("lose", [make_silent, disable, take_out_of_inventory])
def test_a_guest_of_a_host_that_is_gone_is_forgotten(cloud: Cloud, web: dict[str, Any], lose: Any) -> None:
    lose(cloud, web["host"])
    (guest,) = forgotten(cloud, gone(web["host"]))
    assert (guest["uuid"], guest["state"]) == (web["uuid"], "deleted")
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guests() == [] and ledger.usage() == {} and ledger.addresses_of() == []
        assert ledger.project_usage("default").guests == 0 and ledger.open_actions() == [] and ledger.check() == []
        event = ledger.events(web["uuid"])[-1]
    assert event.action.error is None and event.action.request == {"host_is_gone": web["host"]}
    steps = {step.step: (step.host, step.outcome, step.error) for step in event.steps}
    assert steps["remove"] == (web["host"], "failed", f"host {web['host']} was not asked: it was said to be gone")
    assert steps["release"] == (None, "ok", None)


def test_what_comes_back_with_the_host_is_an_orphan(cloud: Cloud, web: dict[str, Any]) -> None:
    make_silent(cloud, web["host"])
    forgotten(cloud, gone(web["host"]))
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running"))})
    assert f"orphan_domain:{web['host']}:{web['uuid']}" in examined(cloud)


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_host_that_answers_is_not_gone(cloud: Cloud, web: dict[str, Any], check_mode: bool) -> None:
    with pytest.raises(Conflict, match=f"host {web['host']} is enabled and answered") as caught:
        delete.begin(call(cloud, request=gone(web["host"]), check_mode=check_mode))
    assert f"`berth host disable {web['host']}`" in caught.value.hint
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").task_state is None and ledger.open_actions() == []


@pytest.mark.parametrize("named", ["another", "h9", ""])
def test_only_guests_of_the_host_that_was_named_are_forgotten(cloud: Cloud, web: dict[str, Any], named: str) -> None:
    make_silent(cloud, web["host"])
    named = others(web)[0] if named == "another" else named
    with pytest.raises(InvalidInput, match=f"guest web is on {web['host']}, not on '{named}'"):
        delete.begin(call(cloud, request=gone(named)))


def test_a_forgetting_that_was_cut_off_is_finished_and_a_delete_becomes_one(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_silent(cloud, web["host"])
    with monkeypatch.context() as patched:
        patched.setattr("os.getppid", lambda: _MEND["NO_PROCESS"])
        plain = delete.begin(call(cloud, request={"names": ["web"]}))
        begun = delete.begin(call(cloud, request=gone(web["host"])))
    assert plain["action"] != begun["action"]
    assert delete.begin(call(cloud, request=gone(web["host"])))["action"] == begun["action"]
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    assert delete.finish(call(cloud, **passed))["guests"][0]["state"] == "deleted"


def test_a_delete_that_fails_tells_the_way_out(cloud: Cloud, web: dict[str, Any]) -> None:
    begun = delete.begin(call(cloud, request={"names": ["web"]}))
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}, "results": {web["host"]: {}}}
    with pytest.raises(HostFailed) as caught:
        delete.finish(call(cloud, **passed))
    assert f"if {web['host']} never returns: `berth delete NAME --host-is-gone HOST`" in caught.value.hint
