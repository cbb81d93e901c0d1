# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest, Policy
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class ServerGroupAntiAffinityFilter(Filter):
    """Passes hosts with fewer members of the guest's anti-affinity group than `max_server_per_host`.

    The host where a moving guest already lives passes. Members placed earlier in the batch count.
    Reason: "group NAME: N members here, allowed M".
    """

    reads = Reads.ROW

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that are not full of this group."""
        group = request.group
        if group is None or group.policy != Policy.ANTI_AFFINITY:
            return None
        members, most = view.members_by_row(group), group.max_server_per_host
        home = view.fleet.row_of.get(request.current_host or "")
        if not isinstance(rows, slice):
            return np.array([members[int(row)] < most or int(row) == home for row in rows], dtype=bool)
        mask = np.ones(view.fleet.size, dtype=bool)
        mask[[row for row, count in members.items() if count >= most and row != home]] = False
        return mask[rows]

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns how many members are there and how many may be."""
        group = request.group
        if group is None:
            return ()
        members = view.members_by_row(group)[row]
        text = f"group {group.name}: {members} of its guests here, allowed {group.max_server_per_host}"
        return (Reason(Code.ANTI_AFFINITY, text, members, group.max_server_per_host, "guests"),)
