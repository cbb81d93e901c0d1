# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.aggregates import aggregate_numbers
from berth.placement.filters.core import CoreFilter
from berth.placement.fleet import Floats, Rows
from berth.placement.view import View


class AggregateCoreFilter(CoreFilter):
    """CoreFilter with the aggregates' metadata `cpu_allocation_ratio` in place of the host's.

    The smallest of several counts; one that is no number makes them all count for nothing.
    """

    def ratio(self, view: View, rows: Rows) -> float | Floats:
        """Returns the allocation ratio, per row."""
        return aggregate_numbers(view.fleet, "cpu_allocation_ratio", view.fleet.cpu_allocation_ratio, rows)
