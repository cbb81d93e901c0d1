# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class CPUWeigher(Weigher):
    """Weighs by free vCPUs, total * allocation ratio - used - reserved.

    More is better, so a positive multiplier spreads and a negative one packs; from 0 up; default 1.0.
    """

    minval = 0.0
    multiplier_option = "cpu_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the column as it is."""
        return view.usage.vcpus_free[rows]
