# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks: what guests are plugged into and which addresses they get."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import pairwise
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from berth.spec.model import NAME_FIELD, Entry, Name

MAX_PREFIX = 30
MIN_PREFIX = 8

# What QEMU's user-mode network answers on when nothing else is said (QEMU's invocation manual, -netdev user:
# net, host, dns, dhcpstart).
USER_CIDR = "10.0.2.0/24"
_USER_GATEWAY = 2
_USER_DNS = 3
_USER_FIRST = 15

# IFNAMSIZ of linux/if.h is 16 with the closing zero byte.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")


class NetworkKind(StrEnum):
    """nat, routed: a libvirt network the host role makes. bridge: the host's own. user: QEMU's user-mode network."""

    NAT = "nat"
    ROUTED = "routed"
    BRIDGE = "bridge"
    USER = "user"


class Assignment(StrEnum):
    """static: the ledger hands out addresses and the seed carries them. dhcp: the network's own server does."""

    STATIC = "static"
    DHCP = "dhcp"


class AddressRange(Entry):
    """The addresses guests may get, both ends included."""

    first: str
    last: str

    @field_validator("first", "last")
    @classmethod
    def _check_address(cls, text: str, info: ValidationInfo) -> str:
        address = _ipv4(text)
        first = info.data.get("first") if info.field_name == "last" else None
        if first is not None and address < IPv4Address(first):
            raise ValueError(f"an address not below {first}, the first one")
        return str(address)


class Network(Entry):
    """A network. After reading, gateway, dns and range hold the defaults of its kind and cidr."""

    name: Name = NAME_FIELD
    kind: NetworkKind = Field(strict=False, description="nat, routed, bridge or user")
    assignment: Assignment = Field(default=Assignment.STATIC, strict=False)
    cidr: str | None = Field(default=None, validate_default=True, description="IPv4, needed unless kind is user")
    gateway: str | None = Field(default=None, validate_default=True, description="default: the first address")
    dns: tuple[str, ...] = Field(default=None, validate_default=True, strict=False, max_length=3)
    range: AddressRange | None = Field(default=None, validate_default=True, description="default: all that is free")
    bridge: str | None = Field(default=None, validate_default=True, description="the bridge's name on the host")
    mtu: int | None = Field(default=None, ge=576, le=65535)

    @property
    def prefix(self) -> int | None:
        """Returns the prefix length of the cidr; None for a bridge whose addresses are DHCP's business."""
        return IPv4Network(self.cidr).prefixlen if self.cidr else None

    @field_validator("cidr")
    @classmethod
    def _check_cidr(cls, text: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if text is not None:
            return str(_usable(text))
        if kind is NetworkKind.USER:
            return USER_CIDR
        if kind is None or (kind is NetworkKind.BRIDGE and info.data.get("assignment") is not Assignment.STATIC):
            return None
        raise ValueError("an IPv4 network such as 192.168.150.0/24")

    @field_validator("gateway")
    @classmethod
    def _check_gateway(cls, text: str | None, info: ValidationInfo) -> str | None:
        cidr = _cidr(info)
        if text is None:
            if cidr is None:
                return None
            user = info.data.get("kind") is NetworkKind.USER and cidr.num_addresses > _USER_GATEWAY + 1
            return str(cidr[_USER_GATEWAY if user else 1])
        address = _ipv4(text)
        if cidr is not None and not _is_host_address(address, cidr):
            raise ValueError(f"an address inside {cidr}, neither its first nor its last")
        return str(address)

    @field_validator("dns", mode="before")
    @classmethod
    def _default_dns(cls, given: Any, info: ValidationInfo) -> Any:
        if given is not None:
            return given
        cidr, kind = _cidr(info), info.data.get("kind")
        if kind is NetworkKind.USER and cidr is not None and cidr.num_addresses > _USER_DNS + 1:
            return (str(cidr[_USER_DNS]),)
        # libvirt's dnsmasq answers names on the network's own address, which is the gateway's.
        own = kind in (NetworkKind.NAT, NetworkKind.ROUTED) and info.data.get("gateway")
        return (own,) if own else ()

    @field_validator("dns")
    @classmethod
    def _check_dns(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_server(text) for text in servers)

    @field_validator("range")
    @classmethod
    def _check_range(cls, given: AddressRange | None, info: ValidationInfo) -> AddressRange | None:
        cidr, gateway = _cidr(info), info.data.get("gateway")
        if cidr is None or gateway is None:
            return given
        servers = [server for server in info.data.get("dns", ()) if ":" not in server]
        taken = [("the gateway", IPv4Address(gateway)), *(("a DNS server", IPv4Address(text)) for text in servers)]
        if given is None:
            free = _free_range(cidr, {address for _, address in taken}, info.data.get("kind"))
            if free is None:
                raise ValueError(f"a cidr with room for guests; in {cidr} every address is taken")
            return free
        first, last = IPv4Address(given.first), IPv4Address(given.last)
        if not (_is_host_address(first, cidr) and _is_host_address(last, cidr)):
            raise ValueError(f"addresses inside {cidr}, neither its first nor its last")
        for what, address in taken:
            if first <= address <= last:
                raise ValueError(f"a range that does not hold {address}, {what}")
        return given

    @field_validator("bridge")
    @classmethod
    def _check_bridge(cls, text: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if text is None:
            if kind is NetworkKind.BRIDGE:
                raise ValueError("the name of a bridge of the hosts, such as br0")
            return None
        if kind is NetworkKind.USER:
            raise ValueError("no bridge for kind user")
        if not _INTERFACE.fullmatch(text):
            raise ValueError("an interface name: 1 to 15 of letters, digits, dot, dash and underscore")
        return text


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise ValueError("an IPv4 address such as 192.168.150.1") from error


def _server(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ValueError("IP addresses of DNS servers, such as 9.9.9.9") from error


def _usable(text: str) -> IPv4Network:
    try:
        cidr = IPv4Network(text, strict=False)
    except ValueError as error:
        raise ValueError("an IPv4 network such as 192.168.150.0/24") from error
    if "/" not in text or not MIN_PREFIX <= cidr.prefixlen <= MAX_PREFIX:
        raise ValueError(f"an IPv4 network with a prefix from /{MIN_PREFIX} to /{MAX_PREFIX}")
    if text.split("/")[0] != str(cidr.network_address):
        raise ValueError(f"a network without host bits; did you mean {cidr}?")
    if cidr.is_loopback or cidr.is_multicast or cidr.is_link_local or cidr.is_reserved or cidr[0].packed[0] == 0:
        raise ValueError("a network of ordinary addresses: not loopback, link-local, multicast or reserved")
    return cidr


def _cidr(info: ValidationInfo) -> IPv4Network | None:
    text: Any = info.data.get("cidr")
    return IPv4Network(text) if text else None


def _is_host_address(address: IPv4Address, cidr: IPv4Network) -> bool:
    return address in cidr and address not in (cidr.network_address, cidr.broadcast_address)


def _free_range(cidr: IPv4Network, taken: set[IPv4Address], kind: NetworkKind | None) -> AddressRange | None:
    """Returns the longest row of host addresses without a taken one, the lower of equals; None without any."""
    low, high = int(cidr.network_address) + 1, int(cidr.broadcast_address) - 1
    if kind is NetworkKind.USER:
        low = min(int(cidr.network_address) + _USER_FIRST, high)
    stops = [low - 1, *sorted(int(address) for address in taken if low <= int(address) <= high), high + 1]
    rows = [(before + 1, after - 1) for before, after in pairwise(stops)]
    first, last = max(rows, key=lambda row: (row[1] - row[0], -row[0]))
    if last < first:
        return None
    return AddressRange(first=str(IPv4Address(first)), last=str(IPv4Address(last)))
