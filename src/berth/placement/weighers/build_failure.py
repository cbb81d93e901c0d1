# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Reads, Rows, Weigher


class BuildFailureWeigher(Weigher):
    """Weighs by failed builds since the last success; the multiplier, default 1000000, is applied negated.

    Because of the normalisation one failure is the full penalty while the others have none. The ledger forgets
    half of them every hour, so the number has a fraction.
    """

    reads = Reads.FACTS
    multiplier_option = "build_failure_weight_multiplier"
    default_multiplier = 1_000_000.0
    sign = -1.0

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number of failures; None where no host has any."""
        if not view.fleet.failed_builds.any():
            return None
        return view.fleet.failed_builds[rows].astype(float)
