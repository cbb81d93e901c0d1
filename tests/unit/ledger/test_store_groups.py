# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from berth.errors import Conflict, NotFound
from berth.ledger import Ledger
from berth.ledger.model import GroupPolicy
from berth.ledger.rows import BootRecord, Member


def test_a_group_is_made_once_and_keeps_its_policy(ledger: Ledger) -> None:
    made = ledger.ensure_group("default", "db", GroupPolicy.ANTI_AFFINITY, 2)
    assert ledger.ensure_group("default", "db", GroupPolicy.ANTI_AFFINITY, 2) == made
    assert ledger.group("default", "db") == made
    assert (made.policy, made.max_server_per_host) == (GroupPolicy.ANTI_AFFINITY, 2)
    for policy, most in ((GroupPolicy.AFFINITY, 2), (GroupPolicy.ANTI_AFFINITY, 1)):
        with pytest.raises(Conflict, match="server group db of project default: has policy anti-affinity with 2"):
            ledger.ensure_group("default", "db", policy, most)
    other = ledger.ensure_group("other", "db", GroupPolicy.AFFINITY)
    assert ledger.groups() == [made, other]
    assert ledger.groups("other") == [other]
    with pytest.raises(NotFound):
        ledger.group("other", "web")


def test_members_are_the_claims_of_guests_that_are_there(ledger: Ledger, kit: Any) -> None:
    ledger.ensure_group("default", "db", GroupPolicy.SOFT_ANTI_AFFINITY)
    action = kit.begin(ledger, "a", "b", "c")
    new = (kit.guest("a", group="db"), kit.guest("b", group="db"), kit.guest("c"))
    ledger.record_boot(action.id, BootRecord(new, tuple(kit.claim(guest, "h2") for guest in new)))
    assert ledger.group_members("default", "db") == [Member("a", "h2"), Member("b", "h2")]
    ledger.delete_guests(["a"])
    assert ledger.group_members("default", "db") == [Member("b", "h2")]
    assert ledger.group_members("default", "none") == []
