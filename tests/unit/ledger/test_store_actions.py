# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from berth.errors import Busy, Conflict, NotFound
from berth.ledger import Ledger
from berth.ledger.model import BootStep, Outcome, Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that lives until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(10)
    assert process.stdin is not None
    process.stdin.close()


def test_an_action_goes_round(ledger: Ledger, kit: Any) -> None:
    owner = Owner.of_process()
    begun = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("Web-1",), "req-1", "d1", {"count": 1}), owner)
    row = ledger.action(begun.id)
    assert row == begun.action
    assert Owner(**row.owner) == owner
    assert (row.verb, row.request, row.attempts, row.ended_at) == (Verb.BOOT, {"count": 1}, 1, None)
    assert (begun.resumed, begun.took_over) == (False, ())
    assert [open_row.id for open_row in ledger.open_actions()] == [row.id]
    assert ledger.held_names(row.id) == ("web-1",)
    ledger.end_action(row.id, "no host")
    ledger.end_action(row.id, "again changes nothing")
    assert ledger.action(row.id).error == "no host"
    assert ledger.open_actions() == []
    assert ledger.held_names(row.id) == ()


def test_a_guest_that_a_live_run_works_on_is_busy(ledger: Ledger, kit: Any, other: subprocess.Popen[bytes]) -> None:
    owner = Owner.of_process(other.pid)
    first = kit.begin(ledger, "a", "b", owner=owner)
    with pytest.raises(Busy, match=rf"b: boot by .* pid {other.pid} for \d+ s \(action {first.id}\)") as caught:
        kit.begin(ledger, "B", "c", verb=Verb.DELETE)
    assert caught.value.data["actions"][0]["owner"]["pid"] == other.pid
    kit.begin(ledger, "c")
    ledger.end_action(first.id)
    kit.begin(ledger, "b", verb=Verb.DELETE)


def test_the_same_request_of_a_dead_run_is_resumed(ledger: Ledger, kit: Any, other: subprocess.Popen[bytes]) -> None:
    first = kit.begin(ledger, "a", "b", owner=Owner.of_process(other.pid))
    ledger.begin_step(first.id, BootStep.IMAGE, ["a"], host="h1")
    kill(other)
    again = kit.begin(ledger, "a", "b")
    assert (again.id, again.resumed, again.took_over) == (first.id, True, ())
    assert again.action.attempts == 2
    assert ledger.action(first.id) == again.action
    assert ledger.steps_of(first.id)[0].outcome is Outcome.INTERRUPTED
    with pytest.raises(Busy):
        kit.begin(ledger, "a", "b")


def test_the_age_of_an_action_is_that_of_the_run_that_works_on_it(
    ledger: Ledger, kit: Any, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kit.begin(ledger, "a", owner=Owner.of_process(other.pid))
    assert first.action.since == first.action.started_at
    kill(other)
    monkeypatch.setattr(ledger, "_clock", lambda: first.action.started_at + 86400.0)
    again = kit.begin(ledger, "a").action
    assert (again.started_at, again.since) == (first.action.started_at, first.action.started_at + 86400.0)
    monkeypatch.setattr(ledger, "_clock", lambda: again.since + 3.0)
    with pytest.raises(Busy, match=r"a: boot by .* for 3 s"):
        kit.begin(ledger, "a")


@pytest.mark.parametrize(
    ("names", "verb", "digest"),
    [(("a", "b"), Verb.DELETE, "d"), (("a", "b"), Verb.BOOT, "other"), (("a", "b", "c"), Verb.BOOT, "d")],
)
def test_another_request_takes_the_guests_of_a_dead_run(
    ledger: Ledger, kit: Any, other: subprocess.Popen[bytes], names: tuple[str, ...], verb: Verb, digest: str
) -> None:
    first = kit.begin(ledger, "a", "b", owner=Owner.of_process(other.pid))
    kill(other)
    again = kit.begin(ledger, *names, verb=verb, digest=digest)
    assert again.id != first.id
    assert (again.resumed, again.took_over) == (False, (first.id,))
    error = ledger.action(first.id).error
    assert error is not None
    assert f"no process {other.pid}" in error
    assert f"{again.id} took over" in error


def test_taking_one_guest_leaves_the_rest_to_be_resumed(
    ledger: Ledger, kit: Any, other: subprocess.Popen[bytes]
) -> None:
    first = kit.begin(ledger, "a", "b", owner=Owner.of_process(other.pid))
    kill(other)
    kit.begin(ledger, "a", verb=Verb.DELETE)
    assert ledger.action(first.id).ended_at is None
    assert ledger.held_names(first.id) == ("b",)


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"machine_id": "another"}, {"pid_namespace": "pid:[1]"}])
def test_a_run_of_another_machine_is_never_taken_for_dead(ledger: Ledger, kit: Any, change: dict[str, str]) -> None:
    kit.begin(ledger, "a", owner=replace(Owner.of_process(), pid=2**22 + 1, **change))
    with pytest.raises(Busy, match="boot by") as caught:
        kit.begin(ledger, "a")
    assert "wait until it is done" in caught.value.hint


def test_what_is_over_stays_over(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a")
    ledger.end_action(action.id)
    with pytest.raises(Conflict, match="is over"):
        ledger.begin_step(action.id, BootStep.RECORD)
    for call in (ledger.action, ledger.end_action):
        with pytest.raises(NotFound, match="no action 'act-0'"):
            call("act-0")


def test_the_end_of_an_action_closes_its_steps(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "web-1").id
    ledger.begin_step(action, BootStep.RECORD)
    ledger.end_step(action, BootStep.RECORD)
    ledger.begin_step(action, BootStep.CLAIM)
    ledger.end_action(action, "no host fits")
    found = [(step.step, step.outcome, step.error, step.ended_at is None) for step in ledger.steps_of(action)]
    assert found == [("record", Outcome.OK, None, False), ("claim", Outcome.FAILED, "no host fits", False)]


def test_a_dead_run_lets_go_of_guests_that_need_nothing_more(
    ledger: Ledger, kit: Any, other: subprocess.Popen[bytes]
) -> None:
    owner = Owner.of_process(other.pid)
    boot = kit.begin(ledger, "web-1", "web-2", owner=owner).id
    ledger.begin_step(boot, BootStep.ACTIVATE)
    stop = kit.begin(ledger, "db-1", verb=Verb.STOP, owner=owner).id
    assert ledger.end_abandoned(Verb.BOOT, "default", ["web-1"]) == []
    kill(other)
    assert ledger.end_abandoned(Verb.BOOT, "default", []) == []
    assert ledger.end_abandoned(Verb.BOOT, "default", ["db-1", "other"]) == []
    assert [row.id for row in ledger.end_abandoned(Verb.BOOT, "default", ["WEB-1"])] == [boot]
    assert ledger.held_names(boot) == ("web-2",)
    assert [step.outcome for step in ledger.steps_of(boot)] == [Outcome.INTERRUPTED]
    assert {row.id for row in ledger.open_actions()} == {boot, stop}
    ledger.end_abandoned(Verb.BOOT, "default", ["web-2"])
    assert [row.id for row in ledger.open_actions()] == [stop]
    assert "nothing was left to do" in (ledger.action(boot).error or "")


ELSEWHERE = replace(Owner.of_process(), host="elsewhere", machine_id="other", boot_id="other")


def test_a_run_that_a_person_says_is_gone_lets_its_guests_go_and_can_do_no_more(ledger: Ledger, kit: Any) -> None:
    """Of a machine that never returns, or of a container, nothing can be proved."""
    first = kit.begin(ledger, "a", owner=ELSEWHERE)
    ledger.begin_step(first.id, BootStep.CLAIM, ["a"])
    with pytest.raises(Busy, match="elsewhere") as caught:
        kit.begin(ledger, "a")
    assert f"berth ledger repair --run-is-gone {first.id}" in str(caught.value.hint)
    (ended,) = ledger.end_gone([first.id, first.id], "ada@desk")
    assert ended == ledger.action(first.id)
    assert ended.error == "ada@desk says that its run is gone" and ended.ended_at
    assert [(step.outcome, step.error) for step in ledger.steps_of(first.id)] == [(Outcome.INTERRUPTED, ended.error)]
    again = kit.begin(ledger, "a")
    assert again.id != first.id and not again.took_over
    with pytest.raises(Conflict, match="is over: ada@desk says"):  # should it live all the same
        ledger.begin_step(first.id, BootStep.GUEST, ["a"])


def test_what_is_said_of_runs_that_cannot_be_gone_is_refused_together(ledger: Ledger, kit: Any) -> None:
    gone, here, over = kit.begin(ledger, "a", owner=ELSEWHERE), kit.begin(ledger, "b"), kit.begin(ledger, "c")
    ledger.end_action(over.id)
    with pytest.raises(Conflict) as caught:
        ledger.end_gone([gone.id, here.id, over.id, "act-none"], "ada@desk")
    told = "\n".join(caught.value.details)
    assert f"{here.id}: process {Owner.of_process().pid} works on this machine" in told
    assert f"{over.id}: it is over" in told and "act-none: there is no such action" in told
    assert gone.id not in told
    with pytest.raises(Busy):
        kit.begin(ledger, "a")
