# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class NamedHosts(Filter):
    """Passes the hosts that the request's own names leave over. Always on, before everything else.

    `ignore_hosts` takes away, `force_host` leaves one (both ignore case), `destination` leaves one (exact).
    Reasons: "in the request's ignored hosts", "not the forced host NAME", "not the destination NAME".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows left over; None when the request names no host."""
        if not (request.ignore_hosts or request.force_host or request.destination):
            return None
        fleet = view.fleet
        only = bool(request.force_host or request.destination)
        mask = np.full(fleet.size, not only)
        if only:
            wanted = set()
            if request.force_host:
                wanted.add(fleet.row_of_folded.get(request.force_host.casefold()))
            if request.destination:
                wanted.add(fleet.row_of.get(request.destination))
            if len(wanted) == 1:
                row = wanted.pop()
                if row is not None:
                    mask[row] = True
        for name in request.ignore_hosts:
            ignored = fleet.row_of_folded.get(name.casefold())
            if ignored is not None:
                mask[ignored] = False
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which of the request's names left the host out."""
        name = view.fleet.names[row]
        found = []
        if name.casefold() in {ignored.casefold() for ignored in request.ignore_hosts}:
            found.append(Reason(Code.IGNORED, "in the request's ignored hosts"))
        if request.force_host and name.casefold() != request.force_host.casefold():
            text = f"not the forced host {request.force_host}"
            found.append(Reason(Code.NOT_FORCED, text, name, request.force_host))
        if request.destination and name != request.destination:
            text = f"not the destination {request.destination}"
            found.append(Reason(Code.NOT_DESTINATION, text, name, request.destination))
        return tuple(found)
