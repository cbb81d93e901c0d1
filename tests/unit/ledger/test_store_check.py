# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of finding is planted once in a ledger in which everything holds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berth.errors import BerthError, Conflict
from berth.ledger import Ledger
from berth.ledger.consistency import Kind
from berth.ledger.model import BootStep, GroupPolicy, Outcome, PowerState, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import AddressWish, BootRecord, GuestResult, Resources


@pytest.fixture
def sound(ledger: Ledger, kit: Any) -> Ledger:
    """A ledger with an active guest a, a deleted one b, and one c that is being built by this process."""
    ledger.ensure_group("default", "g", GroupPolicy.AFFINITY)
    action = kit.begin(ledger, "a", "b")
    new = (kit.guest("a", group="g"), kit.guest("b"))
    wishes = tuple(AddressWish(guest.uuid, 0, "lan", "10.0.0.1", "10.0.0.9") for guest in new)
    ledger.begin_step(action.id, BootStep.RECORD)
    ledger.record_boot(action.id, BootRecord(new, tuple(kit.claim(guest, ports=1) for guest in new), wishes))
    ledger.end_step(action.id, BootStep.RECORD)
    ledger.finish_guests([GuestResult(guest.uuid, VmState.ACTIVE, PowerState.RUNNING) for guest in new])
    ledger.end_action(action.id)
    ledger.delete_guests(["b"])
    building = kit.begin(ledger, "c")
    ledger.record_boot(building.id, BootRecord((kit.guest("c"),), (kit.claim(kit.guest("c"), "h2"),)))
    return ledger


PLANTED = {
    Kind.LEFT_BEHIND: "INSERT INTO claims VALUES ('b', 'h1', 1, 512, 1024, 1.0)",
    Kind.NO_CLAIM: "DELETE FROM claims WHERE guest_uuid = 'a'",
    Kind.CLAIM_ELSEWHERE: "INSERT INTO claims VALUES ('a', 'h3', 1, 512, 1024, 1.0)",
    Kind.CLAIM_DIFFERS: "UPDATE claims SET vcpus = 7 WHERE guest_uuid = 'a'",
    Kind.STUCK: "UPDATE guests SET task_state = 'powering_off' WHERE uuid = 'a'",
    Kind.HELD_BY_ENDED: "UPDATE holds SET released_at = NULL WHERE name_key = 'a'",
    Kind.STEP_LEFT_OPEN: "UPDATE steps SET ended_at = NULL",
    Kind.UNKNOWN_GROUP: "DELETE FROM server_groups",
    Kind.TWIN_MACHINE: "UPDATE hosts SET machine_id = 'machine-h2' WHERE name = 'h1'",
}


def plant(ledger: Ledger, statement: str) -> None:
    with ledger._database.write() as connection:
        connection.exec_driver_sql(statement)


def test_a_sound_ledger_has_no_findings(sound: Ledger) -> None:
    assert sound.check() == []
    assert sound.repair() == []


@pytest.mark.parametrize("kind", PLANTED)
def test_what_does_not_hold_is_found_and_mended_if_that_is_safe(sound: Ledger, kind: Kind) -> None:
    plant(sound, PLANTED[kind])
    (finding,) = sound.check()
    assert finding.kind is kind
    assert finding.message
    mended = sound.repair()
    assert mended == ([finding] if finding.safe else [])
    assert sound.check() == ([] if finding.safe else [finding])


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO ports VALUES ('h1', 22001, 'b')", "INSERT INTO addresses VALUES ('b', 0, 'lan', 'x', '10.0.0.2')"],
)
def test_everything_of_a_deleted_guest_is_given_back(sound: Ledger, statement: str) -> None:
    plant(sound, statement)
    assert [finding.kind for finding in sound.check()] == [Kind.LEFT_BEHIND]
    sound.repair()
    assert sound.check() == []
    assert [row.guest_uuid for row in sound.addresses_of()] == ["a"]
    assert list(sound.ports_of(["a", "b"])) == ["a"]


def test_a_dead_run_is_found_and_its_action_ended(sound: Ledger, kit: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    action = kit.begin(sound, "d", owner=Owner.of_process(process.pid))
    sound.begin_step(action.id, BootStep.RECORD)
    assert sound.check() == []
    process.communicate(timeout=10)
    (finding,) = sound.check()
    assert (finding.kind, finding.key) == (Kind.DEAD_ACTION, action.id)
    assert sound.repair() == [finding]
    assert f"no process {process.pid}" in str(sound.action(action.id).error)
    assert sound.steps_of(action.id)[0].outcome is Outcome.INTERRUPTED
    assert sound.held_names(action.id) == ()
    assert sound.check() == []


def test_a_building_guest_whose_action_is_over_is_stuck(sound: Ledger) -> None:
    (action,) = sound.open_actions()
    sound.end_action(action.id)
    (finding,) = sound.check()
    assert (finding.kind, finding.key) == (Kind.STUCK, "c")
    assert "berth delete c" in finding.hint


def test_every_kind_of_finding_is_planted_here() -> None:
    assert set(Kind) == set(PLANTED) | {Kind.DEAD_ACTION, Kind.DAMAGED, Kind.WRONG_VALUE}


WRONG = {
    "a state": ("UPDATE guests SET vm_state = 'resting' WHERE uuid = 'a'", "guests, row a: vm_state: found 'resting',"),
    "a verb": ("UPDATE actions SET verb = 'fly'", "verb: found 'fly', allowed: boot,"),
    "an outcome": ("UPDATE steps SET outcome = 'fine'", "steps, row 1: outcome: found 'fine',"),
    "a key of two": ("UPDATE claims SET created_at = -1 WHERE guest_uuid = 'c'", "claims, row c/h2: created_at: found"),
    "a map": ("UPDATE guests SET plan = '[]' WHERE uuid = 'a'", "guests, row a: plan: found [], allowed: a map"),
    "an owner": (
        "UPDATE actions SET owner = '{}'",
        "owner: missing, unknown or wrong: boot_id, host, machine_id, pid,",
    ),
}
WRONG_IN_SQLITE = {
    "a number": ("UPDATE guests SET vcpus = 'many' WHERE uuid = 'a'", "guests, row a: vcpus: found 'many', allowed: a"),
    "no JSON": ("UPDATE guests SET plan = '{' WHERE uuid = 'a'", "guests, row a: plan: found '{', allowed: a map"),
    "names": ("UPDATE hosts SET groups = '7' WHERE name = 'h1'", "hosts, row h1: groups: found 7, allowed: a list"),
}


def told(sound: Ledger, statement: str, message: str) -> None:
    plant(sound, statement)
    found = sound.check()
    assert {one.kind for one in found} == {Kind.WRONG_VALUE} and not any(one.safe for one in found)
    assert any(message in one.message for one in found)
    with pytest.raises(Conflict, match="nothing was mended"):
        sound.repair()


@pytest.mark.parametrize("what", WRONG)
def test_a_value_that_no_column_holds_is_a_finding(sound: Ledger, what: str) -> None:
    told(sound, *WRONG[what])


@pytest.mark.parametrize("what", WRONG_IN_SQLITE)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_value_that_only_sqlite_stores_is_a_finding(sound: Ledger, what: str) -> None:
    told(sound, *WRONG_IN_SQLITE[what])


def test_what_cannot_be_read_can_be_exported_and_put_right(sound: Ledger, tmp_path: Path) -> None:
    plant(sound, "UPDATE guests SET vm_state = 'resting' WHERE uuid = 'a'")
    with pytest.raises(BerthError, match=r"'resting' where a VmState belongs; allowed: building, .*"):
        sound.guests()
    document = sound.export_data()
    (guest,) = (row for row in document["tables"]["guests"] if row["uuid"] == "a")
    assert guest["vm_state"] == "resting"
    guest["vm_state"] = "active"
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        other.import_data(document)
        assert other.check() == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_references_into_nowhere_are_found_in_the_file(sound: Ledger) -> None:
    with sound._database.read() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("UPDATE claims SET host = 'nowhere' WHERE guest_uuid = 'c'")
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("BEGIN")
    damaged = [finding for finding in sound.check() if finding.kind is Kind.DAMAGED]
    assert [finding.message for finding in damaged] == [
        "table claims, row 2: refers to a row of hosts that is not there"
    ]


def test_a_claim_may_differ_where_the_flavor_says_so(ledger: Ledger, kit: Any) -> None:
    """`resources:VCPU` of a flavor books other amounts than the guest has."""
    action = kit.begin(ledger, "a", "b")
    for name, plan in (("a", {}), ("b", {"extra_specs": {"resources:VCPU": "0"}})):
        new = replace(kit.guest(name), plan=plan)
        booked = replace(kit.claim(new), resources=Resources(0, 512, 1024))
        ledger.record_boot(action.id, BootRecord((new,), (booked,)))
    assert [(one.kind, one.key) for one in ledger.check()] == [(Kind.CLAIM_DIFFERS, "a")]
