# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class RetryFilter(Filter):
    """Passes hosts that were not tried yet for this guest (`tried_hosts`). Always on. Reason: "already tried"."""

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows not tried; None when none was."""
        if not request.tried_hosts:
            return None
        mask = np.ones(view.fleet.size, dtype=bool)
        for name in request.tried_hosts:
            if name in view.fleet.row_of:
                mask[view.fleet.row_of[name]] = False
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns that the host was tried."""
        return (Reason(Code.TRIED, "already tried for this guest"),)
