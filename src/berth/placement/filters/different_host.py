# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.hints import guests_in
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class DifferentHostFilter(Filter):
    """Passes hosts that none of the hint `different_host`'s guests (UUIDs) lives on; all without the hint.

    Guests placed earlier in the batch count. Reason: "guest UUID lives here, which the request avoids".
    """

    reads = Reads.BATCH

    def depends_on(self, request: GuestRequest, booked: GuestRequest) -> bool:
        """Returns whether the hint names the guest."""
        return booked.uuid in guests_in(request.hints, "different_host")

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows where they do not live."""
        wanted = guests_in(request.hints, "different_host")
        if not wanted:
            return None
        mask = np.full(view.fleet.size, True)
        for uuid in wanted:
            row = view.row_of_guest(uuid)
            if row is not None:
                mask[row] = False
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which guest is here."""
        wanted = guests_in(request.hints, "different_host")
        here = ", ".join(uuid for uuid in wanted if view.row_of_guest(uuid) == row)
        return (Reason(Code.DIFFERENT_HOST, f"guest {here} lives here, which the request avoids", here, "elsewhere"),)
