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
# What each guest may have of its own.
PER_GUEST = ("metadata_items", "injected_files", "injected_file_content_bytes")

Item = dict[str, object]


class QuotaExceeded(Conflict):
    """A project would use more than it may. `data` has `exceeded`, per amount: amount, limit, used, need."""

    @classmethod
    def of(cls, project: str, items: Sequence[Item]) -> QuotaExceeded:
        """Returns the error for everything that is exceeded; an item with `guest` is about that one."""
        lines = [_told(project, item) for item in items]
        return cls(
            lines[0] if len(lines) == 1 else f"project {project}: {len(lines)} limits would be passed",
            details=() if len(lines) == 1 else tuple(lines),
            hint="ask for less (--count with --min-count takes what fits), delete guests, or raise the project's quota "
            f"in catalog/projects.yml; `berth quota show {project}` tells what is used",
            data={"exceeded": list(items)},
        )


def exceeded(quota: Quota, used: Usage, wanted: Iterable[Resources]) -> list[Item]:
    """Returns one entry per amount that `wanted` would take past the quota."""
    need = _total(wanted)
    found: list[Item] = []
    for amount in _AMOUNTS:
        # What needs nothing more of an amount is not refused for it: a quota may have been lowered below what is used.
        found += _passed(amount, getattr(quota, amount), getattr(used, amount), getattr(need, amount))
    return found


def room(quota: Quota, used: Usage, each: Resources, most: int) -> int:
    """Returns how many guests of this size the project may still have, `most` at the most."""
    one = _total([each])
    for amount in _AMOUNTS:
        limit, need = getattr(quota, amount), getattr(one, amount)
        if limit is not None and need > 0:
            most = min(most, (limit - getattr(used, amount)) // need)
    return max(0, most)


def check(quota: Quota, project: str, used: Usage, new: Sequence[NewGuest], groups: tuple[int, int] = (0, 0)) -> None:
    """Raises QuotaExceeded with every amount that these guests would take past the quota.

    `groups` are the project's server groups: how many there are, how many more are asked for.
    """
    items = exceeded(quota, used, (guest.resources for guest in new))
    items += _passed("server_groups", quota.server_groups, *groups)
    for guest in new:
        text = str(guest.plan.get("user_data") or "")
        brought = (len(guest.metadata), 1 if text else 0, len(text.encode()))
        for amount, count in zip(PER_GUEST, brought, strict=True):
            items += [{**item, "guest": guest.name} for item in _passed(amount, getattr(quota, amount), 0, count)]
    if items:
        raise QuotaExceeded.of(project, items)


def check_booked(quota: Quota, project: str, before: Usage, after: Usage) -> None:
    """Raises QuotaExceeded when more than the quota is in use once all is booked, and it was the booking that did it.

    A second count of what `check` foresaw: it holds whatever was booked, by whatever way.
    """
    used = {amount: (getattr(before, amount), getattr(after, amount)) for amount in _AMOUNTS}
    items = [
        item for amount, (was, now) in used.items() for item in _passed(amount, getattr(quota, amount), was, now - was)
    ]
    if items:
        raise QuotaExceeded.of(project, items)


def _passed(amount: str, limit: int | None, used: int, need: int) -> list[Item]:
    if limit is None or need <= 0 or used + need <= limit:
        return []
    return [{"amount": amount, "limit": limit, "used": used, "need": need}]


def _told(project: str, item: Item) -> str:
    if "guest" in item:
        return "guest {guest}: {amount} {need}, allowed: {limit}".format(**item)
    return f"project {project}: " + "{amount} {used} used, {need} more asked for, allowed: {limit}".format(**item)


def _total(resources: Iterable[Resources]) -> Usage:
    rows = list(resources)
    return Usage(
        sum(row.vcpus for row in rows),
        sum(row.memory_mib for row in rows),
        sum(row.disk_mib for row in rows),
        len(rows),
    )
