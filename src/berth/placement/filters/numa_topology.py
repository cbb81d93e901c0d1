# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.outcome import asked_for, fit_on, mistakes_in
from berth.placement.pinning import Pins
from berth.placement.reasons import Reason
from berth.placement.view import View


class NUMATopologyFilter(Filter):
    """Passes hosts where the guest's NUMA cells, dedicated CPUs, page sizes and near devices fit.

    Always on for a guest that asks for a topology; others pass. Reasons: "NUMA cell 0: need 4 dedicated CPUs,
    have 2 of 8", "NUMA cell 1: need 4096 MiB in pages of 2048 KiB, have 1024", and so on.
    """

    reads = Reads.ROW
    costly = True

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns the mistakes in what is asked for."""
        return mistakes_in(request, self.options)

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that can hold it."""
        asked = asked_for(request, self.options)
        if asked.numa is None:
            return None
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([isinstance(fit_on(view, int(row), asked), Pins) for row in numbers], dtype=bool)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what is short, per cell."""
        found = fit_on(view, row, asked_for(request, self.options))
        return () if isinstance(found, Pins) else found
