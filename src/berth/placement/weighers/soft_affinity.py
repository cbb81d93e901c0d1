# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.model import GuestRequest, Policy
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class ServerGroupSoftAffinityWeigher(Weigher):
    """Weighs by the group's members on the host, for a group of policy soft-affinity, else 0.

    More is better; members placed earlier in the batch count; default multiplier 1.0.
    """

    multiplier_option = "soft_affinity_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number of members; None without such a group."""
        group = request.group
        if group is None or group.policy != Policy.SOFT_AFFINITY:
            return None
        members = view.members_by_row(group)
        if not isinstance(rows, slice):
            return np.array([members[int(row)] for row in rows], dtype=float)
        column = np.zeros(view.fleet.size)
        column[list(members)] = [count for count in members.values()]
        return column[rows]
