# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is told of a guest's server group, so that it can look for itself whether the policy still holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berth.ledger.model import GroupPolicy, VmState
from berth.ledger.rows import GuestRow
from berth.ledger.store import Ledger

_RULES = (GroupPolicy.AFFINITY, GroupPolicy.ANTI_AFFINITY)
_NOT_MADE_YET = (VmState.BUILDING, VmState.ERROR)


def group_rules(ledger: Ledger, rows: Sequence[GuestRow]) -> dict[str, dict[str, Any]]:
    """Returns guest uuid -> what its plan says of its group: `group_policy`, and `group_members` with affinity.

    The members are those that are made: one of them at least must be where the next one goes. Groups whose policy is a
    wish, and groups that are not known any more, have no rule.
    """
    wanted = {(row.project, row.server_group) for row in rows if row.server_group}
    if not wanted:
        return {}
    groups = {(row.project, row.name): row for row in ledger.groups() if row.policy in _RULES}
    made: dict[tuple[str, str], list[str]] = {}
    for project in {project for project, _name in wanted}:
        for row in ledger.guests(project=project):
            if row.server_group and row.vm_state not in _NOT_MADE_YET:
                made.setdefault((project, row.server_group), []).append(row.uuid)
    rules: dict[str, dict[str, Any]] = {}
    for row in rows:
        group = groups.get((row.project, str(row.server_group)))
        if group is None:
            continue
        policy = {"policy": group.policy.value, "max_server_per_host": group.max_server_per_host}
        affine = group.policy is GroupPolicy.AFFINITY
        others = [uuid for uuid in made.get((group.project, group.name), ()) if uuid != row.uuid]
        rules[row.uuid] = {"group_policy": policy, **({"group_members": others} if affine else {})}
    return rules
