# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class MetricsFilter(Filter):
    """Passes hosts that report every metric of the option `metrics_weight_setting`. Reason: "no metric NAMES"."""

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that report them all."""
        wanted = frozenset(self.options.metrics_weight_setting)
        if not wanted:
            return None
        return view.fleet.coded("metrics", lambda host: frozenset(host.metrics)).where(wanted.issubset, rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which are missing."""
        metrics = view.fleet.hosts[row].metrics
        missing = ", ".join(name for name in sorted(self.options.metrics_weight_setting) if name not in metrics)
        return (Reason(Code.METRIC, f"no metric {missing}", ", ".join(sorted(metrics)), missing),)
