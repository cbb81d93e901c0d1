# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project may use, and how many guests still fit. Pure.

As the ledger has one writer at a time, what is counted in the transaction that books stays true until it is committed:
two boots that each fit alone cannot both be booked when together they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from berth.errors import Conflict
from berth.ledger.rows import NewGuest, Quota, Resources, Usage

_AMOUNTS = ("guests", "vcpus", "memory_mib", "disk_mib")


class QuotaExceeded(Conflict):
    """A project would use more than it may. `data` has `exceeded`, per amount: amount, limit, used, need."""


def exceeded(quota: Quota, used: Usage, wanted: Iterable[Resources]) -> list[dict[str, object]]:
    """Returns one entry per amount that `wanted` would take past the quota."""
    need = _total(wanted)
    found: list[dict[str, object]] = []
    for amount in _AMOUNTS:
        limit, have, more = getattr(quota, amount), getattr(used, amount), getattr(need, amount)
        # What needs nothing more of an amount is not refused for it: a quota may have been lowered below what is used.
        if limit is not None and more > 0 and have + more > limit:
            found.append({"amount": amount, "limit": limit, "used": have, "need": more})
    return found


def room(quota: Quota, used: Usage, each: Resources, most: int) -> int:
    """Returns how many guests of this size the project may still have, `most` at the most."""
    one = _total([each])
    for amount in _AMOUNTS:
        limit, need = getattr(quota, amount), getattr(one, amount)
        if limit is not None and need > 0:
            most = min(most, (limit - getattr(used, amount)) // need)
    return max(0, most)


def check(quota: Quota, project: str, used: Usage, new: Sequence[NewGuest]) -> None:
    """Raises QuotaExceeded with every amount that these guests would take past the quota."""
    items = exceeded(quota, used, (guest.resources for guest in new))
    told = "{amount} {used} used, {need} more asked for, allowed: {limit}"
    lines = [f"project {project}: {told.format(**item)}" for item in items]
    for guest in new:
        if quota.metadata_items is not None and len(guest.metadata) > quota.metadata_items:
            count = len(guest.metadata)
            lines.append(f"guest {guest.name}: {count} metadata items, allowed: {quota.metadata_items}")
            items.append({"amount": "metadata_items", "limit": quota.metadata_items, "used": 0, "need": count})
    if lines:
        raise QuotaExceeded(
            lines[0] if len(lines) == 1 else f"project {project}: {len(lines)} limits would be passed",
            details=() if len(lines) == 1 else tuple(lines),
            hint="ask for less (--count with --min-count takes what fits), delete guests, or raise the project's quota",
            data={"exceeded": items},
        )


def _total(resources: Iterable[Resources]) -> Usage:
    rows = list(resources)
    return Usage(
        sum(row.vcpus for row in rows),
        sum(row.memory_mib for row in rows),
        sum(row.disk_mib for row in rows),
        len(rows),
    )
