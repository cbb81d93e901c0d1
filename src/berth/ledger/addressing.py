# SPDX-License-Identifier: GPL-3.0-or-later
"""Which MAC and which address a guest gets. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Collection

from berth.errors import Conflict, InvalidInput

# QEMU's locally administered prefix.
MAC_PREFIX = "52:54:00"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def guest_mac(guest_uuid: str, position: int, taken: Collection[str]) -> str:
    """Returns the MAC of a guest's interface: always the same for a guest unless it is taken, then the next one."""
    for attempt in range(1 << 16):
        digest = hashlib.sha256(f"{guest_uuid}/{position}/{attempt}".encode()).hexdigest()
        mac = f"{MAC_PREFIX}:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
        if mac not in taken:
            return mac
    raise Conflict("no free MAC address", hint="delete guests that are not needed")


def plain_mac(text: str) -> str:
    """Returns a MAC in lower case with colons. Raises InvalidInput for what is none."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise InvalidInput(f"MAC {text!r}: not a MAC address; allowed: six pairs of hex digits, 52:54:00:12:34:56")
    return mac


def plain_address(text: str) -> str:
    """Returns an IPv4 or IPv6 address in its one short form. Raises InvalidInput for what is none."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError as error:
        raise InvalidInput(f"address {text!r}: not an IPv4 or IPv6 address") from error


def lowest_free(first: str, last: str, taken: Collection[str]) -> str | None:
    """Returns the lowest address from `first` to `last` (both included) that is not taken, None when there is none."""
    low, high = ipaddress.ip_address(plain_address(first)), ipaddress.ip_address(plain_address(last))
    if low.version != high.version or int(low) > int(high):
        raise InvalidInput(f"range {first} to {last}: the first address must not be above the last")
    kind = type(low)
    busy = {int(address) for address in map(ipaddress.ip_address, taken) if address.version == low.version}
    number = int(low)
    while number in busy:
        number += 1
    return str(kind(number)) if number <= int(high) else None
