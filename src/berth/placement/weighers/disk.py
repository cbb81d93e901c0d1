# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class DiskWeigher(Weigher):
    """Weighs by free disk in MiB, the smaller of what is promised (total - used - reserved) and what was measured.

    More is better, so a positive multiplier spreads and a negative one packs; from 0 up; default 1.0.
    """

    minval = 0.0
    multiplier_option = "disk_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the column as it is."""
        return view.usage.disk_mib_free[rows]
