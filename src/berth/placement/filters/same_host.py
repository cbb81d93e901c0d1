# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.hints import guests_in
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class SameHostFilter(Filter):
    """Passes hosts that at least one of the hint `same_host`'s guests (UUIDs) lives on; all without the hint.

    Unknown guests live nowhere. Guests placed earlier in the batch count. Reason: "none of UUIDS lives here".
    """

    reads = Reads.BATCH

    def depends_on(self, request: GuestRequest, booked: GuestRequest) -> bool:
        """Returns whether the hint names the guest."""
        return booked.uuid in guests_in(request.hints, "same_host")

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows where they live."""
        wanted = guests_in(request.hints, "same_host")
        if not wanted:
            return None
        mask = np.full(view.fleet.size, False)
        for uuid in wanted:
            row = view.row_of_guest(uuid)
            if row is not None:
                mask[row] = True
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which guests are not here."""
        wanted = guests_in(request.hints, "same_host")
        text = f"none of the guests {', '.join(wanted)} lives here"
        return (Reason(Code.SAME_HOST, text, view.fleet.names[row], ", ".join(wanted)),)
