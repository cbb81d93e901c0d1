# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's user-mode network (slirp) where libvirt's XML cannot say what is needed.

libvirt 9.0 has no port forwarding for <interface type='user'> and rejects the passt backend, so a network with
`ssh_port`, or with another gateway than slirp's own, is given to QEMU as arguments. Source: QEMU invocation manual,
-netdev user.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRST_SLOT = 0x10  # libvirt 9.0 fills a guest's root bus from below and stays under 0x10 in ours
MAX_FORWARDED = 8

_MODELS = {"virtio": "virtio-net-pci", "e1000e": "e1000e", "e1000": "e1000", "rtl8139": "rtl8139"}
_GATEWAY = 2


@dataclass(frozen=True)
class Subnet:
    """The network around an address, for <interface type='user'>."""

    address: str
    prefix: int


def is_forwarded(network: Mapping[str, Any]) -> bool:
    """Returns whether the network needs arguments for QEMU instead of an <interface>."""
    if network.get("kind") != "user":
        return False
    if network.get("ssh_port") is not None:
        return True
    net = _network(network)
    return bool(net and network.get("gateway") not in (None, str(net[_GATEWAY])))


def subnet_of(network: Mapping[str, Any]) -> Subnet | None:
    """Returns the network's subnet, None when slirp's own default serves."""
    net = _network(network)
    return Subnet(str(net.network_address), net.prefixlen) if net else None


def arguments(network: Mapping[str, Any], *, index: int, vif_model: str, root_bus: str) -> list[str]:
    """Returns QEMU's arguments for one checked network: its netdev, then its device.

    The guest's port 22 is reached on 127.0.0.1 of its host only.
    """
    name = f"berth{index}"
    device = [
        _MODELS[vif_model],
        f"netdev={name}",
        f"id={name}-nic",
        f"mac={network['mac'].lower()}",
        f"bus={root_bus}",
        f"addr={FIRST_SLOT + index:#x}",
        "romfile=",
    ]
    return ["-netdev", ",".join(_netdev(network, name)), "-device", ",".join(device)]


def _netdev(network: Mapping[str, Any], name: str) -> list[str]:
    parts = ["user", f"id={name}", "ipv6=off"]
    net = _network(network)
    if net:
        parts.append(f"net={net}")
        if network.get("gateway"):
            parts.append(f"host={network['gateway']}")
        inside = [server for server in network.get("dns") or [] if _is_inside(server, net)]
        if inside:
            parts.append(f"dns={inside[0]}")
        parts.append(f"dhcpstart={network['address']}")
    if network.get("ssh_port") is not None:
        parts.append(f"hostfwd=tcp:127.0.0.1:{network['ssh_port']}-{network.get('address') or ''}:22")
    return parts


def _network(network: Mapping[str, Any]) -> ipaddress.IPv4Network | None:
    """Returns the subnet of a static address; None without one, or when the values are wrong (check_plan tells)."""
    try:
        return ipaddress.IPv4Network(f"{network['address']}/{network['prefix']}", strict=False)
    except (KeyError, ValueError):
        return None


def _is_inside(server: str, net: ipaddress.IPv4Network) -> bool:
    address = ipaddress.ip_address(server)
    return address.version == 4 and address in net
