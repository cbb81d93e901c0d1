# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Reads, Rows, Weigher


class MetricsWeigher(Weigher):
    """Weighs by the sum of ratio * metric over the option `metrics_weight_setting`.

    A host without one of the metrics has `metrics_weight_of_unavailable` (-10000.0) instead, unless that metric's
    ratio or the multiplier is 0. With `metrics_required` (default) MetricsFilter refuses such hosts before.
    More is better; default multiplier 1.0.
    """

    reads = Reads.FACTS
    multiplier_option = "metrics_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the sum; None when no metric is set."""
        if not self.options.metrics_weight_setting:
            return None
        hosts = view.fleet.hosts if isinstance(rows, slice) else [view.fleet.hosts[int(row)] for row in rows]
        return np.array([self._sum(host.metrics) for host in hosts], dtype=float)

    def _sum(self, metrics: Mapping[str, float]) -> float:
        total = 0.0
        for name, ratio in self.options.metrics_weight_setting.items():
            if name in metrics:
                total += metrics[name] * ratio
            elif ratio:
                return self.options.metrics_weight_of_unavailable
        return total
