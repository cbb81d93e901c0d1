# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Reads, Rows, Weigher


class HypervisorVersionWeigher(Weigher):
    """Weighs by QEMU's version as libvirt counts it (7002022), 0 where unknown. More is better: newer hosts first."""

    reads = Reads.FACTS
    multiplier_option = "hypervisor_version_weight_multiplier"

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the version."""
        versions = view.fleet.coded("hypervisor_version", lambda host: host.hypervisor_version or 0)
        return versions.numbers(float, rows) if len(versions.values) > 1 else None
