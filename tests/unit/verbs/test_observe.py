# SPDX-License-Identifier: GPL-3.0-or-later
"""What facts show of our guests."""

from __future__ import annotations

from typing import Any

import pytest

from berth.ledger.model import PowerState, TaskState, VmState
from berth.ledger.rows import GuestRow
from berth.verbs.observe import observations


def guest(vm_state: VmState, power: PowerState, task: TaskState | None = None) -> GuestRow:
    values: dict[str, Any] = dict.fromkeys(GuestRow.__dataclass_fields__, "")
    values.update(uuid="u1", name="web", vm_state=vm_state, power_state=power, task_state=task, host="h1")
    return GuestRow(**values)


@pytest.mark.parametrize(
    ("row", "shown", "expected"),
    [
        pytest.param(guest(VmState.ACTIVE, PowerState.RUNNING), "running", None, id="nothing-new"),
        pytest.param(
            guest(VmState.ACTIVE, PowerState.RUNNING), "shutdown", (VmState.STOPPED, PowerState.SHUTDOWN), id="went-off"
        ),
        pytest.param(
            guest(VmState.STOPPED, PowerState.SHUTDOWN), "running", (VmState.ACTIVE, PowerState.RUNNING), id="started"
        ),
        pytest.param(
            guest(VmState.ACTIVE, PowerState.RUNNING), None, (VmState.ACTIVE, PowerState.NOSTATE), id="domain-is-gone"
        ),
        pytest.param(
            guest(VmState.ACTIVE, PowerState.RUNNING, TaskState.POWERING_OFF), "shutdown", None, id="a-verb-works-on-it"
        ),
        pytest.param(
            guest(VmState.ERROR, PowerState.NOSTATE), "running", (VmState.ERROR, PowerState.RUNNING), id="error-stays"
        ),
    ],
)
def test_observations(row: GuestRow, shown: str | None, expected: tuple[VmState, PowerState] | None) -> None:
    facts = {"domains": [{"uuid": "u1", "state": shown}] if shown else []}
    changes = observations([row], facts)
    if expected is None:
        assert changes == []
        return
    ((uuid, change),) = changes
    assert uuid == "u1" and (change.vm_state, change.power_state) == expected
    assert change.expect_vm == {row.vm_state} and change.expect_task == {None}


OFF_SINCE_BOOT = guest(VmState.ACTIVE, PowerState.SHUTDOWN)


@pytest.mark.parametrize(
    ("row", "booted", "shown", "expected"),
    [
        pytest.param(
            guest(VmState.ACTIVE, PowerState.RUNNING), True, "shutdown", (VmState.ACTIVE, PowerState.SHUTDOWN), id="off"
        ),
        pytest.param(OFF_SINCE_BOOT, False, "shutdown", None, id="still-off"),
        pytest.param(OFF_SINCE_BOOT, False, "running", (VmState.ACTIVE, PowerState.RUNNING), id="on-again"),
        pytest.param(OFF_SINCE_BOOT, True, "shutdown", None, id="booted-twice"),
        pytest.param(guest(VmState.STOPPED, PowerState.SHUTDOWN), True, "shutdown", None, id="was-stopped-before"),
        pytest.param(
            guest(VmState.ACTIVE, PowerState.RUNNING), True, "crashed", (VmState.ACTIVE, PowerState.CRASHED), id="crash"
        ),
    ],
)
def test_what_a_hosts_boot_turned_off_is_still_meant_to_be_on(
    row: GuestRow, booted: bool, shown: str, expected: tuple[VmState, PowerState] | None
) -> None:
    changes = observations([row], {"domains": [{"uuid": "u1", "state": shown}]}, booted=booted)
    assert [(change.vm_state, change.power_state) for _uuid, change in changes] == ([expected] if expected else [])
