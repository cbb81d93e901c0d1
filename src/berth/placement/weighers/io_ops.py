# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class IoOpsWeigher(Weigher):
    """Weighs by operations in progress (building, resizing, migrating ...).

    More counts more, so the default multiplier -1.0 prefers quiet hosts; from 0 up.
    """

    minval = 0.0
    multiplier_option = "io_ops_weight_multiplier"
    default_multiplier = -1.0

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number of operations."""
        return view.usage.num_io_ops[rows].astype(float)
