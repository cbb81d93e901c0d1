# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berth.errors import Conflict, InvalidInput
from berth.ledger import Ledger
from berth.ledger.model import BootStep, GroupPolicy, PowerState, VmState
from berth.ledger.rows import AddressWish, BootRecord, GuestResult, HostUpdate, ImageRow
from berth.ledger.store_hosts import Refresh
from berth.ledger.tables import metadata


@pytest.fixture
def full(ledger: Ledger, kit: Any) -> Ledger:
    """A ledger with a row in every table."""
    facts = {"machine_id": "machine-h1", "pools": [{"name": "ö\u2028"}], "clock_offset_s": 0.1}
    ledger.store_hosts(Refresh([HostUpdate("h1", facts, None, ("compute",))], {"rack": {"ssd": "true"}}, "d", 1.5))
    ledger.ensure_group("default", "g", GroupPolicy.AFFINITY)
    ledger.record_images([ImageRow("tiny", "sha256:1", "qcow2", 2**40, 5, "file:///x", 1.0)], host="h1")
    action, new = kit.begin(ledger, "a"), kit.guest("a", group="g")
    ledger.begin_step(action.id, BootStep.RECORD, ["a"])
    wish = AddressWish("a", 0, "lan", "10.0.0.1", "10.0.0.9")
    ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new, ports=1),), (wish,)))
    ledger.end_step(action.id, BootStep.RECORD, ["a"])
    ledger.finish_guests([GuestResult("a", VmState.ACTIVE, PowerState.RUNNING)])
    ledger.end_action(action.id)
    return ledger


def test_an_export_goes_through_json_into_another_ledger_of_either_kind(
    full: Ledger, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    exported = full.export_data()
    assert set(exported["tables"]) == set(metadata.tables)
    assert all(exported["tables"].values())
    document = json.loads(json.dumps(exported))
    databases: list[str] = [f"sqlite:///{tmp_path}/other.sqlite"]
    if "postgresql" in request.node.callspec.id:
        make: Callable[[], str] = request.getfixturevalue("postgresql")
        databases.append(make())
    for url in databases:
        with Ledger.open(url) as other:
            assert other.import_data(document)["guests"] == 1
            assert other.export_data()["tables"] == document["tables"]
            assert other.guests() == full.guests()
            assert other.hosts() == full.hosts()
            assert other.events("a") == full.events("a")
            with pytest.raises(Conflict, match="is not empty"):
                other.import_data(document)


def test_steps_can_be_added_after_an_import(full: Ledger, tmp_path: Path, kit: Any, postgresql: Any) -> None:
    document = full.export_data()
    for url in (f"sqlite:///{tmp_path}/other.sqlite", postgresql()):
        with Ledger.open(url) as other:
            other.import_data(document)
            action = kit.begin(other, "b")
            other.begin_step(action.id, BootStep.RECORD)
            assert len(other.steps_of(action.id)) == 1


DAMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no export": (lambda data: [], "no export of a ledger"),
    "another format": (lambda data: data | {"format": "x"}, "no export of a ledger"),
    "another schema": (lambda data: data | {"schema": "0001"}, "has schema 0001"),
    "a table is missing": (lambda data: data["tables"].pop("claims") and data, "table claims: missing"),
    "a column is missing": (lambda data: data["tables"]["guests"][0].pop("name") and data, "guests, row 1: .*: name"),
    "an unknown column": (lambda data: data["tables"]["ports"][0].update(x=1) or data, "ports, row 1: .*: x"),
    "a row is no map": (lambda data: data["tables"]["ports"].append(7) or data, "ports, row 2: .*: int"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_export_is_refused(full: Ledger, tmp_path: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    document = change(copy.deepcopy(json.loads(json.dumps(full.export_data()))))
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        with pytest.raises(InvalidInput, match=message):
            other.import_data(document)
        assert other.guests() == []


WRONG: dict[tuple[str, str], tuple[Any, str]] = {
    ("guests", "vm_state"): ("resting", "found 'resting', allowed: building, active,"),
    ("guests", "task_state"): (["x"], "found ['x'], allowed: scheduling,"),
    ("guests", "vcpus"): ("many", "found 'many', allowed: a whole number from 0 to 2147483647"),
    ("guests", "memory_mib"): (True, "found True, allowed: a whole number"),
    ("guests", "disk_mib"): (2**31, "found 2147483648, allowed: a whole number"),
    ("guests", "created_at"): ("2024-01-01", "found '2024-01-01', allowed: seconds from 0"),
    ("guests", "launched_at"): (float("inf"), "found inf, allowed: seconds from 0 to 253402300799 or null"),
    ("guests", "plan"): ([], "found [], allowed: a map"),
    ("guests", "metadata"): ({"x": float("nan")}, "allowed: a map"),
    ("guests", "name"): (None, "found None, allowed: text"),
    ("guests", "project"): ("a\0", "found 'a\\x00', allowed: text"),
    ("hosts", "enabled"): ("yes", "found 'yes', allowed: true, false"),
    ("hosts", "groups"): ("compute", "found 'compute', allowed: a list of names"),
    ("hosts", "facts"): (7, "found 7, allowed: a map or null"),
    ("images", "size_bytes"): (2**63, "allowed: a whole number from 0 to 9223372036854775807"),
    ("ports", "port"): (22.5, "found 22.5, allowed: a whole number"),
    ("steps", "outcome"): ("fine", "found 'fine', allowed: ok, failed,"),
}


def test_every_value_that_no_column_holds_is_told_with_its_place(full: Ledger, tmp_path: Path) -> None:
    document = copy.deepcopy(full.export_data())
    for (table, column), (value, _message) in WRONG.items():
        document["tables"][table][0][column] = value
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        with pytest.raises(InvalidInput) as raised:
            other.import_data(document)
        assert other.hosts() == []
    assert raised.value.message == f"import: {len(WRONG)} mistakes"
    for (table, column), (_value, message) in WRONG.items():
        (line,) = [one for one in raised.value.details if one.startswith(f"table {table}, row 1: {column}: ")]
        assert message in line


def test_the_owner_of_a_run_on_a_machine_that_is_up_for_a_year_is_taken(full: Ledger, tmp_path: Path) -> None:
    document = copy.deepcopy(full.export_data())
    document["tables"]["actions"][0] |= {"ended_at": None}
    document["tables"]["actions"][0]["owner"]["started_ticks"] = 365 * 24 * 3600 * 100
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        assert other.import_data(document)["actions"] == 1


@pytest.mark.parametrize("owner", [{}, {"pid": "1"}, {"x": 1}])
def test_the_owner_of_what_is_still_open_is_looked_at(full: Ledger, tmp_path: Path, owner: Any) -> None:
    document = copy.deepcopy(full.export_data())
    (action,) = document["tables"]["actions"]
    action["owner"] = {**action["owner"], **owner} if owner else {}
    with Ledger.open(f"sqlite:///{tmp_path}/ended.sqlite") as other:
        other.import_data(copy.deepcopy(document))
    action["ended_at"] = None
    with Ledger.open(f"sqlite:///{tmp_path}/open.sqlite") as other:
        with pytest.raises(InvalidInput, match="actions, row 1: owner: missing, unknown or wrong: "):
            other.import_data(document)


def test_rows_that_cannot_be_together_are_refused_as_a_whole(full: Ledger, tmp_path: Path) -> None:
    document = json.loads(json.dumps(full.export_data()))
    document["tables"]["claims"][0]["host"] = "nowhere"
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        with pytest.raises(Conflict):
            other.import_data(document)
        assert other.hosts() == []
