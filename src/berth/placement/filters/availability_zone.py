# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Coded
from berth.placement.model import GuestRequest, Host
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_KEY = "availability_zone"


class AvailabilityZoneFilter(Filter):
    """Passes hosts in the requested availability zone; all of them when none is requested.

    A host's zones are its `berth_availability_zone` and the `availability_zone` of its aggregates (comma
    list); a host without any is in `default_availability_zone` of the options. Reason: "in zone A, not in B".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows in the zone."""
        wanted = request.availability_zone
        if not wanted:
            return None
        return self._zones(view).where(lambda zones: wanted in zones, rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns where the host is instead."""
        have = ", ".join(sorted(self._of(view.fleet.hosts[row])))
        wanted = request.availability_zone
        return (Reason(Code.ZONE, f"in availability zone {have}, not in {wanted}", have, wanted),)

    def _zones(self, view: View) -> Coded:
        return view.fleet.coded((_KEY, self.options.default_availability_zone), self._of)

    def _of(self, host: Host) -> frozenset[str]:
        return zones_of(host) or frozenset((self.options.default_availability_zone,))


def zones_of(host: Host) -> frozenset[str]:
    """Returns the zones that a host names itself or through its aggregates; empty when there are none."""
    texts = [host.availability_zone or "", *(aggregate.metadata.get(_KEY, "") for aggregate in host.aggregates)]
    return frozenset(part.strip() for text in texts for part in text.split(",") if part.strip())
