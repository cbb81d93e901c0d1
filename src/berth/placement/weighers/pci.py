# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.model import GuestOnHost, GuestRequest, Host
from berth.placement.pci import free_devices
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher

_MOST = 100


class PCIWeigher(Weigher):
    """Weighs by 100 - min(free PCI devices, 99): hosts with devices are kept for guests that ask for them.

    More is better; 1 to 100; the multiplier, default 1.0, must not be negative.
    """

    multiplier_option = "pci_weight_multiplier"
    least_multiplier = 0.0

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number; None where no host has a device."""
        devices = view.fleet.coded("pci", lambda host: _free(host, host.guests))
        if devices.values == [0]:
            return None
        if isinstance(rows, slice) or not view.booked:
            free = devices.numbers(float)
            for row in view.booked:
                free[row] = _free(view.fleet.hosts[row], view.guests(row))
            free = free[rows]
        else:
            numbers = (int(row) for row in rows)
            free = np.array([_free(view.fleet.hosts[row], view.guests(row)) for row in numbers], dtype=float)
        return _MOST - np.minimum(free, _MOST - 1)


def _free(host: Host, guests: tuple[GuestOnHost, ...]) -> int:
    if not host.pci_devices:
        return 0
    return len(free_devices(host.pci_devices, {address for guest in guests for address in guest.pins.pci_addresses}))
