# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether claims hold: the rule that keeps a host's guests within its limits, and the rules of server groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from berth.errors import Conflict
from berth.ledger.model import GroupPolicy
from berth.ledger.rows import Claim, GroupRow, Member, Usage

# Project and name.
GroupKey = tuple[str, str]

_AMOUNTS = (("vcpus", ""), ("memory_mib", " MiB"), ("disk_mib", " MiB"))


class ClaimRefused(Conflict):
    """Claims that do not hold any more: another run was faster. Place again.

    `data` has `refused`, one map per claim: guest_uuid, host, reason (host, generation, vcpus, memory_mib, disk_mib
    or group), message, and for amounts have and need.
    """

    @classmethod
    def of(cls, refused: Sequence[Mapping[str, object]]) -> ClaimRefused:
        """Returns the error for all refusals."""
        lines = tuple(str(item["message"]) for item in refused)
        return cls(
            lines[0] if len(lines) == 1 else f"{len(lines)} claims do not hold",
            details=() if len(lines) == 1 else lines,
            hint="another run took the room meanwhile: run it again, placement will choose other hosts",
            data={"refused": [dict(item) for item in refused]},
        )


def refused_hosts(hosts: Mapping[str, tuple[str, int]], claims: Iterable[Claim]) -> list[dict[str, object]]:
    """Returns one entry per claim on a host that is unknown, in quarantine or not as it was when it was looked at.

    `hosts` maps a host to why it is in quarantine (or nothing) and to its generation.
    """
    refused = []
    for claim in claims:
        if claim.host not in hosts:
            refused.append(_refusal(claim, "host", f"no host {claim.host}"))
            continue
        quarantine, generation = hosts[claim.host]
        if quarantine:
            refused.append(_refusal(claim, "host", f"host {claim.host} is in quarantine: {quarantine}"))
        if claim.generation not in (None, generation):
            message = f"host {claim.host}: generation {generation}, it was {claim.generation} when it was looked at"
            refused.append(_refusal(claim, "generation", message))
    return refused


def refused_amounts(usage: Mapping[str, Usage], claims: Iterable[Claim]) -> list[dict[str, object]]:
    """Returns one entry per amount that a claim would exceed, the claims taken one after the other.

    `usage` is what other claims hold per host. A claim on a host is counted for those after it, refused or not.
    """
    used = {host: [row.vcpus, row.memory_mib, row.disk_mib] for host, row in usage.items()}
    refused: list[dict[str, object]] = []
    for claim in claims:
        totals = used.setdefault(claim.host, [0, 0, 0])
        for index, (amount, unit) in enumerate(_AMOUNTS):
            need, limit = getattr(claim.resources, amount), getattr(claim.limits, amount)
            have = limit - totals[index]
            totals[index] += need
            if need > 0 and need > have:
                message = f"host {claim.host}: {amount} {need}{unit} does not fit, {have}{unit} of {limit}{unit} left"
                refused.append(_refusal(claim, amount, message, have=have, need=need))
    return refused


def refused_members(
    groups: Mapping[str, GroupRow], members: Mapping[GroupKey, Sequence[Member]], claims: Iterable[Claim]
) -> list[dict[str, object]]:
    """Returns one entry per claim that breaks the policy of its guest's group, the claims taken one after the other.

    `groups` maps a guest uuid to its group; `members` maps a group's project and name to the
    claims its members hold.
    """
    held = {key: list(rows) for key, rows in members.items()}
    refused = []
    for claim in claims:
        group = groups.get(claim.guest_uuid)
        if group is None:
            continue
        rows = held.setdefault((group.project, group.name), [])
        others = [row.host for row in rows if row.guest_uuid != claim.guest_uuid]
        rows.append(Member(claim.guest_uuid, claim.host))
        message = _broken(group, others, claim.host)
        if message:
            refused.append(_refusal(claim, "group", message))
    return refused


def _broken(group: GroupRow, others: Sequence[str], host: str) -> str | None:
    here = others.count(host)
    if group.policy is GroupPolicy.ANTI_AFFINITY and here >= group.max_server_per_host:
        return f"host {host}: has {here} of server group {group.name}, allowed: {group.max_server_per_host}"
    if group.policy is GroupPolicy.AFFINITY and set(others) - {host}:
        return f"host {host}: server group {group.name} is on {', '.join(sorted(set(others)))}"
    return None


def _refusal(claim: Claim, reason: str, message: str, **numbers: int) -> dict[str, object]:
    return {"guest_uuid": claim.guest_uuid, "host": claim.host, "reason": reason, "message": message, **numbers}
