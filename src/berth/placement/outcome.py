# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest asks for beyond amounts, and where it would go on one host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth.placement.model import GuestRequest
from berth.placement.numa_fit import fit_guest, host_use
from berth.placement.numa_request import NumaRequest, numa_request
from berth.placement.pci import PciRequest, pci_requests
from berth.placement.pinning import NO_PINS, Pins
from berth.placement.reasons import Reason
from berth.placement.view import View

if TYPE_CHECKING:
    from berth.placement.profile import Options


@dataclass(frozen=True, slots=True)
class Asked:
    """A guest's NUMA topology and PCI devices; both empty for most guests."""

    numa: NumaRequest | None
    devices: tuple[PciRequest, ...]

    def __bool__(self) -> bool:
        return self.numa is not None or bool(self.devices)


_NOTHING = Asked(None, ())


def asked_for(request: GuestRequest, options: Options) -> Asked:
    """Returns what the request asks for. Raises ValueError with the mistake in it."""
    specs, properties = request.extra_specs, request.image_properties
    if not specs and not properties:
        return _NOTHING
    return Asked(
        numa_request(request.vcpus, request.memory_mib, specs, properties),
        pci_requests(specs, properties, options.pci_aliases),
    )


def mistakes_in(request: GuestRequest, options: Options) -> tuple[str, ...]:
    """Returns what is wrong with what the request asks for: of its cells, and of its devices."""
    specs, properties = request.extra_specs, request.image_properties
    found = []
    for read in (
        lambda: numa_request(request.vcpus, request.memory_mib, specs, properties),
        lambda: pci_requests(specs, properties, options.pci_aliases),
    ):
        try:
            read()
        except ValueError as error:
            found.append(str(error))
    return tuple(found)


def fit_on(view: View, row: int, asked: Asked) -> Pins | tuple[Reason, ...]:
    """Returns where it goes on the host as the view has it, or why it does not fit."""
    host = view.fleet.hosts[row]
    return fit_guest(host, host_use(host, view.guests(row)), asked.numa, asked.devices)


def pins_on(view: View, row: int, request: GuestRequest, options: Options) -> Pins:
    """Returns the pins of a guest on a host that passed every filter; NO_PINS for a guest that asks for none."""
    asked = asked_for(request, options)
    if not asked:
        return NO_PINS
    found = fit_on(view, row, asked)
    if not isinstance(found, Pins):
        raise AssertionError(f"host {view.fleet.names[row]} passed but does not fit: {found}")
    return found
