# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class NumInstancesWeigher(Weigher):
    """Weighs by the number of guests. Default multiplier 0.0: off. Negative spreads, positive packs."""

    multiplier_option = "num_instances_weight_multiplier"
    default_multiplier = 0.0

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number of guests."""
        return view.usage.num_guests[rows].astype(float)
