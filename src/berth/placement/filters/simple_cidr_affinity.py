# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.hints import network_in
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class SimpleCIDRAffinityFilter(Filter):
    """Passes hosts whose address is in the network of the hints `build_near_host_ip` and `cidr` (default /24).

    The address is the facts' migration address. Reason: "address A is not in NETWORK".
    """

    reads = Reads.FACTS

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns a network that is none."""
        try:
            network_in(request.hints)
        except ValueError as error:
            return (f"hint build_near_host_ip with cidr: {error}",)
        return ()

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows in the network."""
        network = network_in(request.hints)
        if network is None:
            return None
        addresses = view.fleet.coded("address", lambda host: host.address)
        return addresses.where(lambda address: _inside(address, network), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns the address and the network."""
        address, network = view.fleet.hosts[row].address or "unknown", str(network_in(request.hints))
        return (Reason(Code.ADDRESS, f"address {address} is not in {network}", address, network),)


def _inside(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False
