# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_KEY = "instance_type"


class AggregateTypeAffinityFilter(Filter):
    """Passes hosts whose aggregates list the guest's flavor in `instance_type`, and those that list none.

    Reason: "for flavors A, B, not for C".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows open to the flavor."""
        if _KEY not in view.fleet.aggregate_keys:
            return None
        lists = view.fleet.aggregate_values(_KEY)
        return lists.where(lambda texts: not texts or request.flavor in _names(texts), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what the host is for."""
        lists = view.fleet.aggregate_values(_KEY)
        have = ", ".join(sorted(_names(lists.values[lists.codes[row]])))
        return (Reason(Code.FLAVOR, f"for flavors {have}, not for {request.flavor}", have, request.flavor),)


def _names(texts: frozenset[str]) -> set[str]:
    return {name.strip() for text in texts for name in text.split(",")}
