# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class TypeAffinityFilter(Filter):
    """Passes hosts without guests of another flavor. Reason: "has guests of flavors A, B"."""

    reads = Reads.ROW

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows with guests of this flavor or none."""
        if not isinstance(rows, slice):
            return np.array([not self._others(view, request, int(row)) for row in rows], dtype=bool)
        before = view.fleet.coded("flavors", lambda host: frozenset(guest.flavor for guest in host.guests))
        mask = before.where(lambda flavors: flavors <= {request.flavor})
        for row in view.booked:
            mask[row] = not self._others(view, request, row)
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which other flavors are there."""
        have = ", ".join(sorted(self._others(view, request, row)))
        return (Reason(Code.FLAVOR, f"has guests of flavors {have}", have, request.flavor),)

    def _others(self, view: View, request: GuestRequest, row: int) -> set[str]:
        return {guest.flavor for guest in view.guests(row)} - {request.flavor}
