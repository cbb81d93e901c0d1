# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest, Policy
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class ServerGroupAffinityFilter(Filter):
    """Passes the hosts where members of the guest's affinity group live; all while there are no members.

    Members placed earlier in the batch count. Reason: "group NAME lives on HOSTS".
    """

    reads = Reads.BATCH

    def depends_on(self, request: GuestRequest, booked: GuestRequest) -> bool:
        """Returns whether the guest is of the same group."""
        return request.group is not None and booked.group is not None and request.group.name == booked.group.name

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows of the group's hosts."""
        group = request.group
        if group is None or group.policy != Policy.AFFINITY:
            return None
        members = view.members_by_row(group)
        if not members and not group.members:
            return np.ones(view.fleet.size, dtype=bool)[rows]
        mask = np.zeros(view.fleet.size, dtype=bool)
        mask[list(members)] = True
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns where the group lives."""
        group = request.group
        if group is None:
            return ()
        names = {view.fleet.names[member] for member in view.members_by_row(group)} | set(group.members.values())
        wanted = ", ".join(sorted(names))
        return (Reason(Code.AFFINITY, f"group {group.name} lives on {wanted}", view.fleet.names[row], wanted),)
