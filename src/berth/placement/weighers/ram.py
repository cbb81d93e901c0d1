# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class RAMWeigher(Weigher):
    """Weighs by free memory in MiB, total - used - reserved, without the allocation ratio.

    More is better, so a positive multiplier spreads and a negative one packs; from 0 up; default 1.0.
    """

    minval = 0.0
    multiplier_option = "ram_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the column as it is."""
        return view.usage.memory_mib_free[rows]
