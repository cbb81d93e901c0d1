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
    ledger.store_hosts(
        Refresh([HostUpdate("h1", facts, None, ("compute",))], {"rack": {"ssd": "true"}}, "d", 1.5, False)
    )
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


def test_rows_that_cannot_be_together_are_refused_as_a_whole(full: Ledger, tmp_path: Path) -> None:
    document = json.loads(json.dumps(full.export_data()))
    document["tables"]["claims"][0]["host"] = "nowhere"
    with Ledger.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        with pytest.raises(Conflict):
            other.import_data(document)
        assert other.hosts() == []
