# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete: what it finds when it holds the guests, and what a failure leaves of them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import Conflict, HostFailed, NotFound
from berth.ledger import Ledger
from berth.ledger.model import PowerState, VmState
from berth.ledger.rows import GuestResult
from berth.verbs import delete

_SYNC = runpy.run_path(str(Path(__file__).with_name("test_sync.py")))
cloud, web, call = _SYNC["cloud"], _SYNC["web"], _SYNC["_FLOW"]["call"]
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
