# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import number_at
from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Floats
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View, one_row


class CoreFilter(Filter):
    """Passes hosts with room for the guest's vCPUs: need <= total, and need <= total * ratio - used.

    Nova removed it; Resources, which is always on, checks the same and knows the reserve before the ratio.
    A host without known vCPUs passes. Reason: "vCPUs: need N, have M at ratio R".
    """

    reads = Reads.ROW

    def ratio(self, view: View, rows: Rows) -> float | Floats:
        """Returns the allocation ratio, per row."""
        return view.fleet.cpu_allocation_ratio[rows]

    def free(self, view: View, rows: Rows) -> Floats:
        """Returns what is left at the ratio, per row; what the host reserves for itself counts as used."""
        fleet = view.fleet
        used = view.usage.vcpus_booked[rows] + fleet.reserved_host_cpus[rows]
        left: Floats = fleet.vcpus_total[rows] * self.ratio(view, rows) - used
        return left

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows with room."""
        need, total = request.vcpus, view.fleet.vcpus_total[rows]
        mask: Mask = (total >= need) & (self.free(view, rows) >= need)
        mask |= total == 0
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what there is and what is needed."""
        need, total = request.vcpus, int(view.fleet.vcpus_total[row])
        rows = one_row(row)
        have, ratio = max(0, int(self.free(view, rows)[0])), number_at(self.ratio(view, rows))
        text = f"vCPUs: need {need}, have {min(have, total)} at ratio {ratio:g}"
        return (Reason(Code.VCPUS, text, min(have, total), need, ""),)
