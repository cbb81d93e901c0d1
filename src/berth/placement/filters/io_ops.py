# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import number_at
from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Floats
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View, one_row


class IoOpsFilter(Filter):
    """Passes hosts with fewer operations in progress than the option `max_io_ops_per_host`.

    Reason: "N operations in progress, allowed below M".
    """

    reads = Reads.ROW

    def limit(self, view: View, rows: Rows) -> float | Floats:
        """Returns the most there may be, per row."""
        return self.options.max_io_ops_per_host

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows below the limit."""
        mask: Mask = view.usage.num_io_ops[rows] < self.limit(view, rows)
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns how many there are and how many may be."""
        have, most = int(view.usage.num_io_ops[row]), number_at(self.limit(view, one_row(row)))
        return (
            Reason(
                Code.IO_OPS,
                f"{have} operations in progress, allowed: below {most:g}",
                have,
                most,
                "operations in progress",
            ),
        )
