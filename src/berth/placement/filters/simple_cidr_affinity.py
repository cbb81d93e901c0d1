# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.hints import network_in
from berth.placement.model import GuestRequest, Host
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
        if isinstance(network, ipaddress.IPv4Network):
            numbers = view.fleet.numbers("ipv4", _ipv4)[rows]
            mask: Mask = (numbers >= int(network.network_address)) & (numbers <= int(network.broadcast_address))
            return mask
        addresses = view.fleet.coded("address", lambda host: host.address)
        return addresses.where(lambda address: _inside(address, network), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns the address and the network."""
        address, network = view.fleet.hosts[row].address or "unknown", str(network_in(request.hints))
        return (Reason(Code.ADDRESS, f"address {address} is not in {network}", address, network),)


def _ipv4(host: Host) -> float:
    """Returns the host's address as a number, -1 when it is no IPv4 address."""
    parts = host.address.split(".")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        return -1.0
    first, second, third, last = (int(part) for part in parts)
    return float(first << 24 | second << 16 | third << 8 | last)


def _inside(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False
