# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Reads, Rows, Weigher


class CrossCellWeigher(Weigher):
    """Weighs nothing: a Berth cloud is one cell. There because Nova has it and profiles name it."""

    reads = Reads.FACTS
    multiplier_option = "cross_cell_move_weight_multiplier"
    default_multiplier = 1_000_000.0

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns None: the same for every host."""
        return None
