# SPDX-License-Identifier: GPL-3.0-or-later
"""A short list of live migrations that makes the load more even. A plan: nothing is moved here.

Imbalance is the sum, over vCPUs, memory and disk, of the standard deviation of used / limit over the usable
hosts: 0 when all are equally full. Each move is the one that lowers it most, is allowed by every filter and the
guest's group while the guest still runs on its old host, and so leaves room for both during the migration.

What a move gains is measured against the imbalance that is left, divided by the usable hosts: a move changes two hosts,
and the more there are the less any two of them weigh in a standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from berth.placement.fleet import Fleet, build_fleet
from berth.placement.model import GuestOnHost, GuestRequest, Host, ServerGroup
from berth.placement.movable import request_for
from berth.placement.pinning import NO_PINS
from berth.placement.profile import Profile
from berth.placement.shapes import Shape
from berth.placement.view import View

_BUSIEST = 8  # hosts whose guests are looked at, per move
_MOVABLE = ("running", "paused")
_NOTHING = 1e-9  # what rounding may gain

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """When to stop: there are at most `most_moves`, and each must gain `least_gain`.

    That is a part of what one host has of the imbalance on average: 1.0 is all of it, 0.1 a tenth.
    """

    least_gain: float = 0.1
    most_moves: int = 10


@dataclass(frozen=True)
class Move:
    """One live migration, and the imbalance after it."""

    guest: str
    uuid: str
    source: str
    destination: str
    imbalance_after: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the move as JSON-ready data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Plan:
    """The moves in the order in which they must be made, and the imbalance before the first."""

    imbalance_before: float
    moves: tuple[Move, ...]

    @property
    def imbalance_after(self) -> float:
        """Returns the imbalance once all moves are made."""
        return self.moves[-1].imbalance_after if self.moves else self.imbalance_before

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON-ready data."""
        return {
            "imbalance_before": self.imbalance_before,
            "imbalance_after": self.imbalance_after,
            "moves": [move.to_dict() for move in self.moves],
        }


def rebalance(
    hosts: Sequence[Host],
    groups: Mapping[str, ServerGroup],
    profile: Profile,
    *,
    now_s: float,
    limits: Limits | None = None,
    requests: Mapping[str, GuestRequest] | None = None,
) -> Plan:
    """Returns the plan. `requests` has, by UUID, what guests ask for where more than their amounts is known.

    Guests that are pinned, have devices, or do not run stay where they are.
    """
    limits = limits or Limits()
    fleet, groups = build_fleet(hosts), dict(groups)
    moves: list[Move] = []
    before = now = imbalance(fleet)
    while len(moves) < limits.most_moves:
        best = _best_move(_State(fleet, groups, requests or {}), profile, now_s)
        if best is None or now - best[2] < max(_NOTHING, limits.least_gain * now / fleet.usable.sum()):
            break
        guest, destination, now = best
        source = next(host for host in fleet.hosts if guest in host.guests)
        moves.append(Move(guest.name or guest.uuid, guest.uuid, source.name, fleet.names[destination], now))
        fleet = build_fleet(_moved(fleet.hosts, guest, source.name, fleet.names[destination]))
        for name, group in groups.items():
            if guest.uuid in group.members:
                members = {**group.members, guest.uuid: moves[-1].destination}
                groups[name] = ServerGroup(name, group.policy, members, group.max_server_per_host)
    return Plan(before, tuple(moves))


def imbalance(fleet: Fleet) -> float:
    """Returns the fleet's imbalance; see the top of the file."""
    rows = np.flatnonzero(fleet.usable)
    return float(_load(fleet)[rows].std(axis=0).sum()) if rows.size else 0.0


@dataclass(frozen=True)
class _State:
    fleet: Fleet
    groups: Mapping[str, ServerGroup]
    requests: Mapping[str, GuestRequest]


def _limits(fleet: Fleet) -> Table:
    columns = (fleet.vcpus_limit, fleet.memory_mib_limit, fleet.disk_mib_limit)
    return np.maximum(np.stack(columns, axis=1, dtype=np.float64), 1.0)


def _load(fleet: Fleet) -> Table:
    used = np.stack((fleet.vcpus_used, fleet.memory_mib_used, fleet.disk_mib_used), axis=1)
    return np.asarray(used / _limits(fleet))


def _best_move(state: _State, profile: Profile, now_s: float) -> tuple[GuestOnHost, int, float] | None:
    """Returns the guest, the row it should move to, and the imbalance then; None when nothing can move."""
    fleet = state.fleet
    usable, load, most = np.flatnonzero(fleet.usable), _load(fleet), _limits(fleet)
    best: tuple[GuestOnHost, int, float] | None = None
    for source in sorted(usable, key=lambda row: -float(load[row].sum()))[:_BUSIEST]:
        for guest in _movable(fleet.hosts[source]):
            rows = _destinations(state, guest, int(source), profile, now_s)
            rows = rows[fleet.usable[rows]]
            if not rows.size:
                continue
            size = np.array((guest.vcpus, guest.memory_mib, guest.disk_mib), dtype=float)
            after = _after_each(load[usable], np.searchsorted(usable, [source, *rows]), size / most[[source, *rows]])
            at = int(after.argmin())
            if best is None or after[at] < best[2]:
                best = (guest, int(rows[at]), float(after[at]))
    return best


def _movable(host: Host) -> Iterator[GuestOnHost]:
    for guest in host.guests:
        if guest.state in _MOVABLE and guest.pins == NO_PINS:
            yield guest


def _destinations(
    state: _State, guest: GuestOnHost, source: int, profile: Profile, now_s: float
) -> npt.NDArray[np.intp]:
    host = state.fleet.hosts[source]
    request = request_for(guest, host, state.groups, state.requests)
    request = replace(request, ignore_hosts=(*request.ignore_hosts, host.name))
    pipeline = replace(profile.pipeline, weighers=())
    return Shape(View(state.fleet, now_s), request, pipeline).scores.rows


def _after_each(load: Table, places: npt.NDArray[np.intp], shares: Table) -> Table:
    """Returns the imbalance after moving from places[0] to each of the others; `shares` are the guest's parts there."""
    count = load.shape[0]
    source, others = places[0], places[1:]
    total, squares = load.sum(axis=0), (load**2).sum(axis=0)
    less = load[source] - shares[0]
    more = load[others] + shares[1:]
    totals = total - shares[0] + shares[1:]
    sums = squares - load[source] ** 2 + less**2 - load[others] ** 2 + more**2
    spread = np.sqrt(np.maximum(0.0, sums / count - (totals / count) ** 2))
    return np.asarray(spread.sum(axis=1))


def _moved(hosts: Sequence[Host], guest: GuestOnHost, source: str, destination: str) -> Iterator[Host]:
    for host in hosts:
        sign = {source: -1, destination: 1}.get(host.name, 0)
        if not sign:
            yield host
            continue
        left = tuple(other for other in host.guests if other.uuid != guest.uuid)
        yield replace(
            host,
            vcpus_used=host.vcpus_used + sign * guest.vcpus,
            memory_mib_used=host.memory_mib_used + sign * guest.memory_mib,
            disk_mib_used=host.disk_mib_used + sign * guest.disk_mib,
            guests=left if sign < 0 else (*left, guest),
        )
