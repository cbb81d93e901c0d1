# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import aggregate_numbers
from berth.placement.filters.io_ops import IoOpsFilter
from berth.placement.fleet import Floats, Rows
from berth.placement.view import View


class AggregateIoOpsFilter(IoOpsFilter):
    """IoOpsFilter with the aggregates' metadata `max_io_ops_per_host` in place of the option.

    The smallest of several counts; one that is no number makes them all count for nothing.
    """

    def limit(self, view: View, rows: Rows) -> float | Floats:
        """Returns the most there may be, per row."""
        return aggregate_numbers(view.fleet, "max_io_ops_per_host", self.options.max_io_ops_per_host, rows, whole=True)
