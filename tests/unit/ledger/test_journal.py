# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from berth.ledger import Ledger
from berth.ledger.model import STEPS, BootStep, DeleteStep, Outcome, Verb
from berth.ledger.rows import BootRecord, StepRow


def test_steps_go_round(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a", "b")
    ledger.begin_step(action.id, BootStep.RECORD)
    ledger.end_step(action.id, BootStep.RECORD)
    ledger.begin_step(action.id, BootStep.IMAGE, ["a", "b"], host="h1")
    ledger.end_step(action.id, BootStep.IMAGE, ["b"], outcome=Outcome.FAILED, error="disk full")
    first, a, b = ledger.steps_of(action.id)
    assert first == StepRow(action.id, None, "record", None, first.started_at, first.ended_at, Outcome.OK, None)
    assert first.ended_at is not None
    assert first.ended_at > first.started_at
    assert (a.guest_uuid, a.host, a.ended_at, a.outcome) == ("a", "h1", None, None)
    assert (b.guest_uuid, b.outcome, b.error) == ("b", Outcome.FAILED, "disk full")


def test_events_tell_the_history_of_one_guest(ledger: Ledger, kit: Any) -> None:
    boot = kit.begin(ledger, "a", "b")
    ledger.begin_step(boot.id, BootStep.RECORD)
    ledger.record_boot(boot.id, BootRecord((kit.guest("a"), kit.guest("b"))))
    ledger.end_step(boot.id, BootStep.RECORD)
    ledger.begin_step(boot.id, BootStep.GUEST, ["b"], host="h2")
    ledger.end_action(boot.id, "host h2 failed")
    delete = kit.begin(ledger, "a", verb=Verb.DELETE)
    ledger.begin_step(delete.id, DeleteStep.MARK, ["a"])
    of_a = ledger.events("a")
    assert [(event.action.id, [step.step for step in event.steps]) for event in of_a] == [
        (boot.id, ["record"]),
        (delete.id, ["mark"]),
    ]
    assert of_a[0].action.error == "host h2 failed"
    assert [[step.step for step in event.steps] for event in ledger.events("b")] == [["record", "guest"]]
    assert ledger.events("nobody") == []


RUN = """
import sys
from berth.ledger import Ledger
from berth.ledger.model import STEPS, Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest
verb = Verb(sys.argv[2])
with Ledger.open(sys.argv[1]) as ledger:
    action = ledger.begin_action(ActionRequest(verb, "default", ("a",), "req-1", "d"), Owner.of_process())
    for step in STEPS[verb]:
        ledger.begin_step(action.id, step, ["a"])
        ledger.end_step(action.id, step, ["a"])
    ledger.end_action(action.id)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("verb", "step"), [(verb, step) for verb in (Verb.BOOT, Verb.DELETE) for step in STEPS[verb]])
def test_a_run_killed_at_a_step_leaves_its_intent_and_can_be_run_again(
    tmp_path: Path, kit: Any, verb: Verb, step: BootStep | DeleteStep, when: str
) -> None:
    url, reached = f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path / "reached"
    Ledger.open(url).close()
    env = os.environ | {"BERTH_FAILPOINT": f"{verb}.{step}.{when}", "BERTH_FAILPOINT_FILE": str(reached)}
    process = subprocess.Popen([sys.executable, "-c", RUN, url, verb], env=env)
    deadline = time.monotonic() + 30
    while not reached.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    with Ledger.open(url) as ledger:
        (action,) = ledger.open_actions()
        *done, last = ledger.steps_of(action.id)
        assert (last.step, last.outcome) == (step.value, None)
        assert all(row.outcome is Outcome.OK for row in done)
    subprocess.run([sys.executable, "-c", RUN, url, verb], check=True, timeout=30)
    with Ledger.open(url) as ledger:
        row = ledger.action(action.id)
        assert (row.attempts, row.error, ledger.open_actions()) == (2, None, [])
        assert row.ended_at is not None
