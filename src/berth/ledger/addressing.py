# SPDX-License-Identifier: GPL-3.0-or-later
"""Which MAC and which address a guest gets. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Collection, Iterable

from berth.errors import Conflict, InvalidInput

# QEMU's locally administered prefix.
MAC_PREFIX = "52:54:00"
MAC_CANDIDATES = 8
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

# Version 4 or 6, and the address as a number.
Number = tuple[int, int]


def mac_candidates(guest_uuid: str, position: int) -> list[str]:
    """Returns the MACs of a guest's interface in the order to try: always the same for a guest."""
    digest = hashlib.sha256(f"{guest_uuid}/{position}".encode()).hexdigest()
    tails = (digest[start : start + 6] for start in range(0, 6 * MAC_CANDIDATES, 6))
    return [f"{MAC_PREFIX}:{tail[0:2]}:{tail[2:4]}:{tail[4:6]}" for tail in tails]


def guest_mac(guest_uuid: str, position: int, taken: Collection[str]) -> str:
    """Returns the first MAC of a guest's interface that is not taken. Raises Conflict when all its candidates are."""
    for mac in mac_candidates(guest_uuid, position):
        if mac not in taken:
            return mac
    raise Conflict(f"guest {guest_uuid}: no free MAC address", hint="run it again: the guest will have another UUID")


def plain_mac(text: str) -> str:
    """Returns a MAC in lower case with colons. Raises InvalidInput for what is none."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise InvalidInput(f"MAC {text!r}: not a MAC address; allowed: six pairs of hex digits, 52:54:00:12:34:56")
    return mac


def plain_address(text: str) -> str:
    """Returns an IPv4 or IPv6 address in its one short form. Raises InvalidInput for what is none."""
    return _text(_number(text))


class Pool:
    """The addresses of one network: which are taken, and the next to give. One booking uses it up."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {_number(text) for text in taken}
        self._next: dict[tuple[str, str, tuple[str, ...]], int] = {}

    def take(self, text: str, reserved: Iterable[str] = ()) -> str | None:
        """Returns a certain address, taken now, or None when it is taken or reserved already."""
        number = _number(text)
        if number in self._taken or number in {_number(other) for other in reserved}:
            return None
        self._taken.add(number)
        return _text(number)

    def lowest(self, first: str, last: str, reserved: tuple[str, ...] = ()) -> str | None:
        """Returns the lowest free address from `first` to `last` (both included), taken now; None when none is free."""
        (version, low), (other, high) = _number(first), _number(last)
        if version != other or low > high:
            raise InvalidInput(f"range {first} to {last}: the first address must not be above the last")
        spared = {_number(text) for text in reserved}
        key = (first, last, reserved)
        # Nothing is given back during a booking: what was passed over stays taken.
        number = self._next.get(key, low)
        while (version, number) in self._taken or (version, number) in spared:
            number += 1
        self._next[key] = number
        if number > high:
            return None
        self._taken.add((version, number))
        return _text((version, number))


def _number(text: str) -> Number:
    plain = text.strip()
    try:
        # Ten times as quick as ipaddress, and as strict: no shortened IPv4 (inet_pton(3)).
        return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, plain), "big")
    except OSError:
        pass
    try:
        return 6, int.from_bytes(socket.inet_pton(socket.AF_INET6, plain), "big")
    except OSError as error:
        raise InvalidInput(f"address {text!r}: not an IPv4 or IPv6 address") from error


def _text(number: Number) -> str:
    version, value = number
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
