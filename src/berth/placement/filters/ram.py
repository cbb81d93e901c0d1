# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import number_at
from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Floats
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View, one_row


class RamFilter(Filter):
    """Passes hosts with room for the guest's memory: need <= total, and need <= total * ratio - used.

    Nova removed it; Resources, which is always on, checks the same and knows the reserve before the ratio.
    Reason: "memory: need N MiB, have M MiB at ratio R".
    """

    reads = Reads.ROW

    def ratio(self, view: View, rows: Rows) -> float | Floats:
        """Returns the allocation ratio, per row."""
        return view.fleet.ram_allocation_ratio[rows]

    def free(self, view: View, rows: Rows) -> Floats:
        """Returns what is left at the ratio, per row; what the host reserves for itself counts as used."""
        fleet = view.fleet
        used = view.usage.memory_mib_booked[rows] + fleet.reserved_host_memory_mib[rows]
        left: Floats = fleet.memory_mib_total[rows] * self.ratio(view, rows) - used
        return left

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows with room."""
        need, total = request.memory_mib, view.fleet.memory_mib_total[rows]
        mask: Mask = (total >= need) & (self.free(view, rows) >= need)
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what there is and what is needed."""
        need, total = request.memory_mib, int(view.fleet.memory_mib_total[row])
        rows = one_row(row)
        have, ratio = max(0, int(self.free(view, rows)[0])), number_at(self.ratio(view, rows))
        text = f"memory: need {need} MiB, have {min(have, total)} MiB at ratio {ratio:g}"
        return (Reason(Code.MEMORY, text, min(have, total), need, "MiB"),)
