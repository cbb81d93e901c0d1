# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.outcome import Asked, asked_for, fit_on
from berth.placement.pinning import Pins
from berth.placement.reasons import Reason
from berth.placement.view import View


class PciPassthroughFilter(Filter):
    """Passes hosts with enough free devices for `pci_passthrough:alias`. Nearness is NUMATopologyFilter's.

    Always on for a guest that asks for devices; others pass. Reason: "PCI gpu: need 2, have 1".
    """

    reads = Reads.ROW
    costly = True

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows with enough devices."""
        devices = asked_for(request, self.options).devices
        if not devices:
            return None
        asked = Asked(None, devices)
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([isinstance(fit_on(view, int(row), asked), Pins) for row in numbers], dtype=bool)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what is short."""
        found = fit_on(view, row, Asked(None, asked_for(request, self.options).devices))
        return () if isinstance(found, Pins) else found
