# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts open a connection to which others after the fleet was prepared. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from berth.errors import InvalidInput

MODES = ("auto", "all", "none")
# Up to here every pair is tried: 56 connections. Beyond, the square of the fleet would cost more than it tells.
ALL_PAIRS_UP_TO = 8
RING_NEIGHBOURS = 3


def verify_pairs(hosts: Sequence[str], changed: Collection[str], mode: str = "auto") -> dict[str, list[str]]:
    """Returns host -> the others it opens, in the order of `hosts`; never itself.

    `auto`: every pair up to 8 hosts; above that each host opens its next three in the ring that `hosts` makes, and
    every changed host. `all`: every pair. `none`: nothing. Raises InvalidInput for another mode.
    """
    if mode not in MODES:
        raise InvalidInput(f"verification mode {mode!r}; allowed: {', '.join(MODES)}")
    if mode == "none":
        return {host: [] for host in hosts}
    if mode == "all" or len(hosts) <= ALL_PAIRS_UP_TO:
        return {host: [other for other in hosts if other != host] for host in hosts}
    pairs = {}
    for place, host in enumerate(hosts):
        ring = {hosts[(place + step) % len(hosts)] for step in range(1, RING_NEIGHBOURS + 1)}
        pairs[host] = [other for other in hosts if other != host and (other in ring or other in changed)]
    return pairs
