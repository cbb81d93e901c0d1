# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, stop and reboot: which guests they refuse before any host is asked."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import Conflict, NotFound
from berth.ledger import Ledger
from berth.ledger.model import PowerState, VmState
from berth.ledger.rows import GuestResult
from berth.verbs import power

_SYNC = runpy.run_path(str(Path(__file__).with_name("test_sync.py")))
cloud, web = _SYNC["cloud"], _SYNC["web"]
call, domain, facts, others, refresh = (
    _SYNC["_FLOW"]["call"], _SYNC["domain"], _SYNC["facts"], _SYNC["others"], _SYNC["refresh"],
)  # fmt: skip


def moved_by_hand(cloud: Cloud, web: dict[str, Any], state: str, there: str = "running") -> str:
    """Leaves the guest in this state at home and on another host as well; returns that one's name."""
    host, third = others(web)
    seen = {web["host"]: facts(web["host"], domain(web, state)), host: facts(host, domain(web, there))}
    refresh(cloud, {**seen, third: facts(third)})
    return str(host)


@pytest.mark.parametrize("there", ["running", "paused"])
@pytest.mark.parametrize(
    ("at_home", "asked"),
    [
        ("shutdown", {"action": "start"}),
        ("running", {"action": "reboot"}),
        ("running", {"action": "reboot", "hard": True}),
        ("shutdown", {"action": "reboot", "hard": True}),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_guest_that_is_on_elsewhere_is_not_turned_on(
    cloud: Cloud, web: dict[str, Any], at_home: str, asked: dict[str, Any], there: str, check_mode: bool
) -> None:
    host = moved_by_hand(cloud, web, at_home, there)
    with pytest.raises(Conflict) as caught:
        power.begin(call(cloud, request={"names": ["web"], **asked}, check_mode=check_mode))
    assert caught.value.message.startswith(f"guest web is {there} on host {host} and recorded on {web['host']}")
    assert "berth sync" in caught.value.hint and "virsh" in caught.value.hint
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").task_state is None and ledger.open_actions() == []


def test_every_copy_is_told(cloud: Cloud, web: dict[str, Any]) -> None:
    on = {name: facts(name, domain(web, "running")) for name in others(web)}
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "shutdown")), **on})
    with pytest.raises(Conflict) as caught:
        power.begin(call(cloud, request={"names": ["web"], "action": "start"}))
    assert [line.split(" and ")[0] for line in caught.value.details] == [
        f"guest web is running on host {host}" for host in others(web)
    ]


def test_what_another_host_once_showed_counts_while_it_is_silent(cloud: Cloud, web: dict[str, Any]) -> None:
    host = moved_by_hand(cloud, web, "shutdown")
    refresh(cloud, {host: "no route"})
    with pytest.raises(Conflict, match=f"running on host {host}"):
        power.begin(call(cloud, request={"names": ["web"], "action": "start"}))


def test_a_host_that_is_gone_counts_no_more_once_somebody_says_so(cloud: Cloud, web: dict[str, Any]) -> None:
    host = moved_by_hand(cloud, web, "shutdown")
    request = {"names": ["web"], "action": "start", "host_is_gone": host}
    with pytest.raises(Conflict, match=f"host {host} answered when it was last asked") as caught:
        power.begin(call(cloud, request=request))
    assert "berth sync" in caught.value.hint
    refresh(cloud, {host: "no route"})
    with pytest.raises(Conflict, match=f"running on host {host}") as caught:
        power.begin(call(cloud, request={**request, "host_is_gone": None}))
    assert "--host-is-gone" in caught.value.hint
    with pytest.raises(NotFound, match="no host 'h9'"):
        power.begin(call(cloud, request={**request, "host_is_gone": "h9"}))
    assert power.begin(call(cloud, request=request))["hosts"] == [web["host"]]


def test_a_copy_that_is_off_or_a_guest_that_is_turned_off_is_no_matter(cloud: Cloud, web: dict[str, Any]) -> None:
    moved_by_hand(cloud, web, "running", "shutdown")
    begun = power.begin(call(cloud, request={"names": ["web"], "action": "reboot"}))
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.end_action(begun["action"])
    moved_by_hand(cloud, web, "running")
    with Ledger.open(cloud.ledger_url) as ledger, ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE guests SET task_state = NULL")
    assert power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))["hosts"] == [web["host"]]


@pytest.mark.parametrize(
    "asked", [{"action": "start"}, {"action": "stop"}, {"action": "reboot"}, {"action": "reboot", "hard": True}]
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_guest_that_no_host_has_is_told_what_to_do(
    cloud: Cloud, web: dict[str, Any], asked: dict[str, Any], check_mode: bool
) -> None:
    """As a boot leaves it that failed on every host."""
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.release_claims([web["uuid"]])
        ledger.finish_guests([GuestResult(web["uuid"], VmState.ERROR, PowerState.NOSTATE)])
    with pytest.raises(Conflict, match="guest web is error and on no host") as caught:
        power.begin(call(cloud, request={"names": ["web"], **asked}, check_mode=check_mode))
    assert "berth delete web" in caught.value.hint and "reboot" not in caught.value.hint


def test_a_guest_that_is_being_made_is_told_to_wait(cloud: Cloud, web: dict[str, Any]) -> None:
    """It has no host between two tries."""
    with Ledger.open(cloud.ledger_url) as ledger, ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE guests SET vm_state = 'building', host = NULL")
    with pytest.raises(Conflict, match="cannot stop while it is building"):
        power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))


def test_a_guest_that_changes_before_it_is_held_is_looked_at_again(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else stopped it meanwhile: a reboot is refused for what it is now."""
    held = Ledger.begin_action

    def late(ledger: Ledger, *given: Any) -> Any:
        moved_by_hand(cloud, web, "shutdown", "shutdown")
        return held(ledger, *given)

    monkeypatch.setattr(Ledger, "begin_action", late)
    with pytest.raises(Conflict, match="cannot reboot while it is stopped"):
        power.begin(call(cloud, request={"names": ["web"], "action": "reboot"}))
