# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import number_at
from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Floats
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View, one_row


class NumInstancesFilter(Filter):
    """Passes hosts with fewer guests than the option `max_instances_per_host`.

    Reason: "N guests, allowed below M".
    """

    reads = Reads.ROW

    def limit(self, view: View, rows: Rows) -> float | Floats:
        """Returns the most there may be, per row."""
        return self.options.max_instances_per_host

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows below the limit."""
        mask: Mask = view.usage.num_guests[rows] < self.limit(view, rows)
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns how many there are and how many may be."""
        have, most = int(view.usage.num_guests[row]), number_at(self.limit(view, one_row(row)))
        return (Reason(Code.GUESTS, f"{have} guests, allowed: below {most:g}", have, most, "guests"),)
