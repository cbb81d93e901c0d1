# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the interfaces of new guests their MACs and addresses, within the transaction that books them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from berth.errors import BerthError, Conflict
from berth.ledger.addressing import Pool, guest_mac, mac_candidates, plain_mac
from berth.ledger.rows import AddressRow, AddressWish
from berth.ledger.store_base import values_of
from berth.ledger.tables import addresses


def book_addresses(
    connection: Connection, wishes: Sequence[AddressWish], reserved_macs: frozenset[str]
) -> tuple[AddressRow, ...]:
    """Returns the interfaces, inserted. Raises Conflict with everything that is taken, runs out or is no address.

    Certain addresses and MACs go first, so that nobody else is given them.
    """
    if not wishes:
        return ()
    macs = {plain_mac(mac) for mac in reserved_macs} | _taken_macs(connection, wishes)
    pools = _pools(connection, {wish.network for wish in wishes if wish.address or wish.first})
    given: list[AddressRow] = []
    mistakes: list[str] = []
    for wish in sorted(wishes, key=lambda wish: (wish.address is None, wish.mac is None)):
        try:
            mac = _mac(wish, macs)
            row = AddressRow(wish.guest_uuid, wish.position, wish.network, mac, _address(wish, pools))
        except BerthError as error:
            mistakes.append(error.message)
            continue
        macs.add(row.mac)
        given.append(row)
    if mistakes:
        raise Conflict(
            mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} addresses cannot be given",
            details=() if len(mistakes) == 1 else tuple(mistakes),
            hint="ask for others, widen the network's range, or delete guests that are not needed",
            data={"taken": mistakes},
        )
    connection.execute(addresses.insert(), [values_of(row) for row in given])
    return tuple(given)


def _taken_macs(connection: Connection, wishes: Sequence[AddressWish]) -> set[str]:
    """Returns which of the MACs that may be given are taken."""
    wanted = {mac for wish in wishes if wish.mac is None for mac in mac_candidates(wish.guest_uuid, wish.position)}
    # One that is no MAC is told later, with the other mistakes.
    wanted |= {wish.mac.strip().lower().replace("-", ":") for wish in wishes if wish.mac is not None}
    return set(connection.execute(select(addresses.c.mac).where(addresses.c.mac.in_(wanted))).scalars())


def _pools(connection: Connection, networks: set[str]) -> dict[str, Pool]:
    pools = {}
    for network in networks:
        query = select(addresses.c.address).where(addresses.c.network == network, addresses.c.address.is_not(None))
        pools[network] = Pool(connection.execute(query).scalars())
    return pools


def _mac(wish: AddressWish, taken: set[str]) -> str:
    if wish.mac is None:
        return guest_mac(wish.guest_uuid, wish.position, taken)
    mac = plain_mac(wish.mac)
    if mac in taken:
        raise Conflict(f"MAC {mac} is taken")
    return mac


def _address(wish: AddressWish, pools: dict[str, Pool]) -> str | None:
    if wish.address is not None:
        address = pools[wish.network].take(wish.address, wish.reserved)
        if address is None:
            raise Conflict(f"address {wish.address} of network {wish.network} is taken")
        return address
    if wish.first is None or wish.last is None:
        return None
    address = pools[wish.network].lowest(wish.first, wish.last, wish.reserved)
    if address is None:
        raise Conflict(f"network {wish.network}: no address is free from {wish.first} to {wish.last}")
    return address
