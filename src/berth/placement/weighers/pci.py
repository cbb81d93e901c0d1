# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.model import GuestOnHost, GuestRequest
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
        devices = view.fleet.coded("pci", lambda host: len(host.pci_devices) - _held(host.guests))
        if devices.values == [0]:
            return None
        if isinstance(rows, slice) or not view.booked:
            free = devices.numbers(float)
            for row, guests in view.booked.items():
                free[row] -= sum(len(guest.pins.pci_addresses) for guest in guests)
            free = free[rows]
        else:
            free = np.array([self._free(view, int(row)) for row in rows], dtype=float)
        return _MOST - np.minimum(free, _MOST - 1)

    def _free(self, view: View, row: int) -> int:
        return len(view.fleet.hosts[row].pci_devices) - _held(view.guests(row))


def _held(guests: tuple[GuestOnHost, ...]) -> int:
    return sum(len(guest.pins.pci_addresses) for guest in guests)
