# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from berth.errors import Conflict, NotFound
from berth.ledger import Ledger
from berth.ledger.claiming import ClaimRefused
from berth.ledger.rows import BootRecord, HostRow, HostUpdate, Usage
from berth.ledger.store_hosts import Refresh

FACTS = {"machine_id": "m1", "cpu": {"total": 2, "features": ["aes"]}, "clock_offset_s": 0.5, "pools": []}
UPDATE = HostUpdate(
    "n1", FACTS, None, ("compute", "rack1"), {"berth_availability_zone": "z1"}, {"ansible_host": "10.77.0.11"}
)


def refresh(ledger: Ledger, *updates: HostUpdate, at: float = 100.0, full: bool = False) -> HostRow:
    named = {update.name for update in updates}
    others = [HostUpdate(host.name, groups=host.groups, asked=False) for host in ledger.hosts() if not full]
    updates += tuple(update for update in others if update.name not in named)
    ledger.store_hosts(Refresh(updates, {"rack1": {"ssd": "true"}}, "sha256:1", at))
    return ledger.host(updates[0].name)


def test_a_host_goes_round(ledger: Ledger) -> None:
    expected = HostRow(
        name="n1",
        enabled=True,
        disabled_reason="",
        in_inventory=True,
        quarantine="",
        unreachable_message=None,
        unreachable_since=None,
        machine_id="m1",
        facts=FACTS,
        facts_at=100.0,
        groups=("compute", "rack1"),
        variables={"berth_availability_zone": "z1"},
        access={"ansible_host": "10.77.0.11"},
    )
    assert refresh(ledger, UPDATE) == expected
    assert expected.usable
    assert ledger.aggregates() == {"rack1": {"ssd": "true"}}
    assert ledger.inventory_digest() == "sha256:1"
    assert [row.name for row in ledger.hosts()] == ["h1", "h2", "h3", "n1"]


def test_a_host_that_does_not_answer_keeps_its_facts(ledger: Ledger) -> None:
    refresh(ledger, UPDATE)
    refresh(ledger, HostUpdate("n1", None, "timed out", ("compute",)), at=200.0)
    row = refresh(ledger, HostUpdate("n1", None, "no route", ("compute",)), at=300.0)
    assert (row.facts, row.facts_at) == (FACTS, 100.0)
    assert (row.unreachable_message, row.unreachable_since) == ("no route", 200.0)
    row = refresh(ledger, UPDATE, at=400.0)
    assert (row.unreachable_message, row.unreachable_since, row.facts_at) == (None, None, 400.0)


def test_a_host_never_reached_is_not_usable(ledger: Ledger) -> None:
    row = refresh(ledger, HostUpdate("n2", None, "timed out"))
    assert row.facts is None
    assert not row.usable


def test_hosts_that_left_the_inventory_are_marked(ledger: Ledger) -> None:
    refresh(ledger, UPDATE, full=False)
    assert all(row.in_inventory for row in ledger.hosts())
    refresh(ledger, UPDATE, full=True)
    assert {row.name: row.in_inventory for row in ledger.hosts()} == {"h1": False, "h2": False, "h3": False, "n1": True}
    assert ledger.host("h1").facts is not None
    assert refresh(ledger, HostUpdate("h1", {"machine_id": "machine-h1"})).in_inventory


def test_another_machine_under_the_same_name_is_quarantined_until_accepted(ledger: Ledger, kit: Any) -> None:
    refresh(ledger, UPDATE)
    row = refresh(ledger, HostUpdate("n1", FACTS | {"machine_id": "m2"}))
    assert row.quarantine == "machine id changed from m1 to m2"
    assert not row.usable
    # It stays so however often it is seen, and takes no claim.
    row = refresh(ledger, HostUpdate("n1", FACTS | {"machine_id": "m2"}))
    assert row.machine_id == "m1"
    action, new = kit.begin(ledger, "a"), kit.guest("a")
    with pytest.raises(ClaimRefused, match="host n1 is in quarantine: machine id changed"):
        ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new, "n1"),)))
    row = ledger.accept_host("n1")
    assert (row.quarantine, row.machine_id, row.usable) == ("", "m2", True)
    with pytest.raises(Conflict, match="nothing to accept"):
        ledger.accept_host("n1")


def test_a_quarantine_ends_when_the_known_machine_is_back(ledger: Ledger) -> None:
    refresh(ledger, UPDATE)
    refresh(ledger, HostUpdate("n1", FACTS | {"machine_id": "m2"}))
    assert refresh(ledger, UPDATE).quarantine == ""


def test_a_host_is_disabled_with_a_reason_and_a_refresh_leaves_that(ledger: Ledger) -> None:
    ledger.set_host_enabled("h1", False, "new disks")
    row = refresh(ledger, HostUpdate("h1", {"machine_id": "machine-h1"}))
    assert (row.enabled, row.disabled_reason, row.usable) == (False, "new disks", False)
    row = ledger.set_host_enabled("h1", True)
    assert (row.enabled, row.disabled_reason) == (True, "")


def test_an_unknown_host_is_told_with_its_neighbour(ledger: Ledger) -> None:
    for call in (ledger.host, ledger.accept_host, lambda name: ledger.set_host_enabled(name, True)):
        with pytest.raises(NotFound, match="no host 'h11'") as caught:
            call("h11")
        assert caught.value.hint == "did you mean 'h1'?"


def test_usage_adds_up_claims_and_forgets_released_ones(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a", "b")
    new = (kit.guest("a"), kit.guest("b", memory_mib=1024))
    ledger.record_boot(action.id, BootRecord(new, tuple(kit.claim(guest) for guest in new)))
    assert ledger.usage() == {"h1": Usage(2, 1536, 2048, 2)}
    ledger.release_claims(["b"])
    assert ledger.usage() == {"h1": Usage(1, 512, 1024, 1)}
    assert ledger.guest("default", "b").host is None
