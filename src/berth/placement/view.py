# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as the batch has left it so far: what filters and weighers read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from berth.placement.fleet import Fleet, Usage
from berth.placement.model import GuestOnHost, GuestRequest, Host, ServerGroup
from berth.placement.pinning import NO_PINS, Pins


class View:
    """A fleet, the time, and what this batch has booked on it.

    `usage` holds the columns that change; they are the fleet's own until the first booking. `log` has the row and
    the guest of every booking in order, so that whoever computed a mask earlier knows which rows are out of date.
    """

    def __init__(self, fleet: Fleet, now_s: float) -> None:
        self.fleet = fleet
        self.now_s = now_s
        self.usage: Usage = fleet.usage
        self.log: list[tuple[int, GuestRequest]] = []
        self.booked: dict[int, list[GuestOnHost]] = {}
        self.rows_of_booked: dict[str, int] = {}
        self._groups: dict[str, Counter[int]] = {}

    def book(self, row: int, request: GuestRequest, pins: Pins = NO_PINS) -> None:
        """Books the request on one host: only that row of the columns changes."""
        if not self.log:
            self.usage = self.fleet.usage.copy()
        needs = request.needs
        usage, fleet = self.usage, self.fleet
        usage.vcpus_booked[row] += needs.vcpus
        usage.memory_mib_booked[row] += needs.memory_mib
        usage.disk_mib_booked[row] += needs.disk_mib
        memory_mib_left = fleet.memory_mib_limit[row] - usage.memory_mib_booked[row]
        disk_mib_left = fleet.disk_mib_limit[row] - usage.disk_mib_booked[row]
        usage.vcpus_room[row] = min(fleet.vcpus_total[row], fleet.vcpus_limit[row] - usage.vcpus_booked[row])
        usage.memory_mib_room[row] = min(fleet.memory_mib_total[row], memory_mib_left)
        usage.disk_mib_room[row] = min(fleet.disk_mib_total[row], disk_mib_left)
        usage.vcpus_free[row] -= needs.vcpus
        usage.memory_mib_free[row] -= needs.memory_mib
        usage.num_guests[row] += 1
        usage.num_io_ops[row] += 1
        if request.group is not None:
            self.members_by_row(request.group)[row] += 1
        self.booked.setdefault(row, []).append(_as_guest(request, pins))
        measured = self._measured_less_booked(row)
        promised = fleet.disk_mib_total[row] - usage.disk_mib_booked[row] - fleet.reserved_host_disk_mib[row]
        usage.disk_mib_free[row] = promised if measured is None else min(promised, measured)
        self.rows_of_booked[request.uuid] = row
        self.log.append((row, request))

    def members_by_row(self, group: ServerGroup) -> Counter[int]:
        """Returns how many members of the group each row has, those booked in this batch included."""
        found = self._groups.get(group.name)
        if found is None:
            rows = self.fleet.row_of
            found = Counter(rows[host] for host in group.members.values() if host in rows)
            self._groups[group.name] = found
        return found

    def row_of_guest(self, uuid: str) -> int | None:
        """Returns the row of the guest, None when no host has it."""
        row = self.rows_of_booked.get(uuid)
        return self.fleet.rows_of_guest.get(uuid) if row is None else row

    def guests(self, row: int) -> tuple[GuestOnHost, ...]:
        """Returns the guests of one host, those booked in this batch last."""
        return (*self.fleet.hosts[row].guests, *self.booked.get(row, ()))

    def host(self, row: int) -> Host:
        """Returns one host as it is now: for filters that look at one host at a time, and for explanations."""
        host = self.fleet.hosts[row]
        if row not in self.booked:
            return host
        usage = self.usage
        return replace(
            host,
            vcpus_used=int(usage.vcpus_booked[row]),
            memory_mib_used=int(usage.memory_mib_booked[row]),
            disk_mib_used=int(usage.disk_mib_booked[row]),
            disk_free_mib_measured=self._measured_less_booked(row),
            num_io_ops=int(usage.num_io_ops[row]),
            guests=self.guests(row),
        )

    def _measured_less_booked(self, row: int) -> int | None:
        measured = self.fleet.hosts[row].disk_free_mib_measured
        if measured is None:
            return None
        booked = sum(guest.disk_mib for guest in self.booked[row])
        return max(0, measured - booked)

    def changed_since(self, mark: int) -> list[int]:
        """Returns the distinct rows booked after the log was `mark` long, ascending."""
        return sorted({row for row, _ in self.log[mark:]})


def _as_guest(request: GuestRequest, pins: Pins) -> GuestOnHost:
    needs = request.needs
    return GuestOnHost(
        uuid=request.uuid,
        name=request.name,
        project=request.project,
        flavor=request.flavor,
        image=request.image,
        group=request.group.name if request.group else None,
        state="building",
        vcpus=needs.vcpus,
        memory_mib=needs.memory_mib,
        disk_mib=needs.disk_mib,
        image_properties=request.image_properties,
        pins=pins,
    )


def one_row(row: int) -> np.typing.NDArray[np.intp]:
    """Returns the row as the array that filters and weighers take."""
    return np.array([row], dtype=np.intp)
