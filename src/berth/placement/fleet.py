# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: all hosts as columns, sorted by name. Built once, never changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from berth.errors import InvalidInput, Problem
from berth.placement.model import LARGEST, Host

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = slice | npt.NDArray[np.intp]

ALL: Rows = slice(None)

_AMOUNTS = (
    "vcpus_total",
    "memory_mib_total",
    "disk_mib_total",
    "vcpus_used",
    "memory_mib_used",
    "disk_mib_used",
    "reserved_host_cpus",
    "reserved_host_memory_mib",
    "reserved_host_disk_mib",
    "num_io_ops",
)
_RATIOS = ("cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio")
_FLOATS = (*_RATIOS, "failed_builds")


@dataclass(frozen=True)
class Coded:
    """A column of few distinct values: `values[codes[row]]` is the host's. Asked once per value, not per host."""

    codes: npt.NDArray[np.intp]
    values: list[Any]

    def where(self, test: Callable[[Any], bool], rows: Rows = ALL) -> Mask:
        """Returns the mask of the rows whose value passes `test`."""
        table = np.fromiter((test(value) for value in self.values), dtype=bool, count=len(self.values))
        return table[self.codes[rows]]

    def numbers(self, number: Callable[[Any], float], rows: Rows = ALL) -> Floats:
        """Returns `number(value)` per row."""
        table = np.fromiter((number(value) for value in self.values), dtype=np.float64, count=len(self.values))
        return table[self.codes[rows]]


@dataclass(frozen=True)
class Usage:
    """The columns that booking a guest changes. Whole numbers, so that nothing is lost to rounding.

    `*_room` is the largest guest that fits: the smaller of the physical total (Nova's max_unit) and
    floor((total - reserved) * ratio) - used. `*_free` is what the weighers count: memory and disk without
    the ratio, vCPUs with it; the reserve is taken off in all three.
    """

    vcpus_room: Integers
    memory_mib_room: Integers
    disk_mib_room: Integers
    vcpus_booked: Integers
    memory_mib_booked: Integers
    disk_mib_booked: Integers
    vcpus_free: Floats
    memory_mib_free: Floats
    disk_mib_free: Floats
    num_guests: Integers
    num_io_ops: Integers

    def copy(self) -> Usage:
        """Returns the same columns as arrays of their own."""
        return Usage(**{name: column.copy() for name, column in vars(self).items()})


class Fleet:
    """All hosts as columns, in the order of their names. Use build_fleet()."""

    def __init__(self, hosts: tuple[Host, ...]) -> None:
        self.hosts = hosts
        self.names = [host.name for host in hosts]
        self.size = len(hosts)
        self._coded: dict[Hashable, Coded] = {}
        self._numbers: dict[Hashable, Floats] = {}
        for name in (*_AMOUNTS, *_FLOATS):
            setattr(self, name, self._column(name))
        self.enabled: Mask = np.array([host.enabled for host in hosts], dtype=bool)
        self.usable: Mask = np.array(
            [host.enabled and not host.quarantined and not host.facts_problem for host in hosts], dtype=bool
        )
        self.reachable: Mask = np.array([host.reachable for host in hosts], dtype=bool)
        never = float("-inf")
        self.facts_at: Floats = np.array([never if h.facts_at is None else h.facts_at for h in hosts], dtype=float)

    vcpus_total: Integers
    memory_mib_total: Integers
    disk_mib_total: Integers
    vcpus_used: Integers
    memory_mib_used: Integers
    disk_mib_used: Integers
    reserved_host_cpus: Integers
    reserved_host_memory_mib: Integers
    reserved_host_disk_mib: Integers
    num_io_ops: Integers
    failed_builds: Floats
    cpu_allocation_ratio: Floats
    ram_allocation_ratio: Floats
    disk_allocation_ratio: Floats

    def _column(self, name: str) -> npt.NDArray[Any]:
        kind = np.float64 if name in _FLOATS else np.int64
        return np.array([getattr(host, name) for host in self.hosts], dtype=kind)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Returns the row of each host by name."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def row_of_folded(self) -> dict[str, int]:
        """Returns the row of each host by name in lower case: forced and ignored hosts ignore case, as in Nova."""
        return {name.casefold(): row for row, name in enumerate(self.names)}

    @cached_property
    def rows_of_guest(self) -> dict[str, int]:
        """Returns the row of each guest by UUID."""
        return {guest.uuid: row for row, host in enumerate(self.hosts) for guest in host.guests}

    @cached_property
    def usage(self) -> Usage:
        """Returns the columns that change, as they are before anything is placed."""
        disk_free = self.disk_mib_total - self.disk_mib_used - self.reserved_host_disk_mib
        memory_free = self.memory_mib_total - self.memory_mib_used - self.reserved_host_memory_mib
        return Usage(
            vcpus_room=np.minimum(self.vcpus_total, self.vcpus_limit - self.vcpus_used),
            memory_mib_room=np.minimum(self.memory_mib_total, self.memory_mib_limit - self.memory_mib_used),
            disk_mib_room=np.minimum(self.disk_mib_total, self.disk_mib_limit - self.disk_mib_used),
            vcpus_booked=self.vcpus_used,
            memory_mib_booked=self.memory_mib_used,
            disk_mib_booked=self.disk_mib_used,
            vcpus_free=self.vcpus_total * self.cpu_allocation_ratio - self.vcpus_used - self.reserved_host_cpus,
            memory_mib_free=memory_free.astype(np.float64),
            disk_mib_free=np.minimum(disk_free, self._disk_free_measured),
            num_guests=np.array([len(host.guests) for host in self.hosts], dtype=np.int64),
            num_io_ops=self.num_io_ops,
        )

    @cached_property
    def _disk_free_measured(self) -> Floats:
        unknown = float("inf")
        measured = (host.disk_free_mib_measured for host in self.hosts)
        return np.array([unknown if free is None else free for free in measured], dtype=float)

    @cached_property
    def vcpus_limit(self) -> Integers:
        """Returns what guests may use of each host's vCPUs in all."""
        return limit_of(self.vcpus_total - self.reserved_host_cpus, self.cpu_allocation_ratio)

    @cached_property
    def memory_mib_limit(self) -> Integers:
        """Returns what guests may use of each host's memory in all."""
        return limit_of(self.memory_mib_total - self.reserved_host_memory_mib, self.ram_allocation_ratio)

    @cached_property
    def disk_mib_limit(self) -> Integers:
        """Returns what guests may use of each host's disk in all."""
        return limit_of(self.disk_mib_total - self.reserved_host_disk_mib, self.disk_allocation_ratio)

    def coded(self, key: Hashable, value_of: Callable[[Host], Hashable]) -> Coded:
        """Returns the column of `value_of(host)`, computed once per `key` and kept."""
        found = self._coded.get(key)
        if found is None:
            seen: dict[Hashable, int] = {}
            codes = [seen.setdefault(value_of(host), len(seen)) for host in self.hosts]
            found = self._coded[key] = Coded(np.array(codes, dtype=np.intp), list(seen))
        return found

    def numbers(self, key: Hashable, number_of: Callable[[Host], float]) -> Floats:
        """Returns the column of `number_of(host)`, computed once per `key` and kept."""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = np.array([number_of(host) for host in self.hosts], dtype=np.float64)
        return found

    @cached_property
    def _aggregate_sets(self) -> Coded:
        """Returns which combination of aggregates each host is in; a value is a tuple of Aggregates."""
        by_names: dict[tuple[str, ...], tuple[Any, ...]] = {}
        codes: dict[tuple[str, ...], int] = {}
        column = []
        for host in self.hosts:
            names = tuple(aggregate.name for aggregate in host.aggregates)
            by_names.setdefault(names, host.aggregates)
            column.append(codes.setdefault(names, len(codes)))
        return Coded(np.array(column, dtype=np.intp), list(by_names.values()))

    def aggregate_values(self, key: str) -> Coded:
        """Returns the raw values of one metadata key per host: frozensets of text, not split at commas."""
        found = self._coded.get(("values", key))
        if found is None:
            sets = self._aggregate_sets
            values = [frozenset(a.metadata[key] for a in members if key in a.metadata) for members in sets.values]
            found = self._coded[("values", key)] = Coded(sets.codes, values)
        return found

    def aggregate_metadata(self) -> Coded:
        """Returns the merged metadata per host: key -> frozenset of the comma-split, stripped values."""
        found = self._coded.get("metadata")
        if found is None:
            sets = self._aggregate_sets
            found = self._coded["metadata"] = Coded(sets.codes, [_merged(members) for members in sets.values])
        return found

    def aggregate_numbers(self, key: str, number: Callable[[frozenset[str]], float]) -> Floats:
        """Returns `number(values)` of one metadata key per host, computed once per key and function."""
        found = self._numbers.get((key, number))
        if found is None:
            found = self._numbers[key, number] = self.aggregate_values(key).numbers(number)
        return found

    @cached_property
    def aggregate_keys(self) -> frozenset[str]:
        """Returns every metadata key that any aggregate has: most requests ask about none of them."""
        return frozenset(key for members in self._aggregate_sets.values for a in members for key in a.metadata)


def limit_of(free: Integers, ratio: float | Floats) -> Integers:
    """Returns what guests may use, as Host.limits: beyond LARGEST a limit is none, and would not fit the column."""
    limit: Integers = np.clip(np.floor(free * ratio), -LARGEST, LARGEST).astype(np.int64)
    return limit


def _merged(members: tuple[Any, ...]) -> dict[str, frozenset[str]]:
    merged: dict[str, set[str]] = {}
    for aggregate in members:
        for key, text in aggregate.metadata.items():
            merged.setdefault(key, set()).update(part.strip() for part in text.split(","))
    return {key: frozenset(values) for key, values in merged.items()}


def build_fleet(hosts: Iterable[Host]) -> Fleet:
    """Returns the hosts as columns, sorted by name.

    Raises InvalidInput with every host whose name is empty or taken, whose amounts are not whole numbers
    from 0 to LARGEST, whose ratios are not numbers above 0 and at most that, whose aggregates contradict each other, or
    which has a guest or a PCI device that is there already.
    """
    ordered = tuple(sorted(hosts, key=lambda host: host.name))
    checks = (_name_problems, _number_problems, _measure_problems, _aggregate_problems, _twice_problems)
    problems = [problem for check in checks for problem in check(ordered)]
    if problems:
        raise InvalidInput.from_problems("fleet", problems, hint="mend the hosts' facts or variables")
    return Fleet(ordered)


def _name_problems(hosts: tuple[Host, ...]) -> Iterable[Problem]:
    seen: dict[str, str] = {}
    for host in hosts:
        folded = host.name.casefold()
        if not host.name:
            yield Problem("host", "the name is empty")
        elif folded in seen:
            yield Problem(f"host {host.name}", f"the name is taken by host {seen[folded]}; case does not count")
        seen[folded] = host.name


def _number_problems(hosts: tuple[Host, ...]) -> Iterable[Problem]:
    for name in _AMOUNTS:
        for host in hosts:
            value = getattr(host, name)
            if type(value) is not int or not 0 <= value <= LARGEST:
                text = f"{name}: found {value!r}, allowed: a whole number, 0 or more, at most {LARGEST}"
                yield Problem(f"host {host.name}", text)
    for name in _RATIOS:
        for host in hosts:
            value = getattr(host, name)
            if type(value) not in (int, float) or not 0 < value <= LARGEST:
                text = f"{name}: found {value!r}, allowed: a number above 0, at most {LARGEST}"
                yield Problem(f"host {host.name}", text)
    for host in hosts:
        free, at = host.disk_free_mib_measured, host.facts_at
        if free is not None and (type(free) is not int or free < 0):
            yield Problem(f"host {host.name}", f"disk_free_mib_measured: found {free!r}, allowed: 0 or more, or null")
        if at is not None and not -float("inf") < at < float("inf"):
            yield Problem(f"host {host.name}", f"facts_at: found {at!r}, allowed: a time in seconds, or null")


def _measure_problems(hosts: tuple[Host, ...]) -> Iterable[Problem]:
    for host in hosts:
        failed = host.failed_builds
        if not _is_finite(failed) or failed < 0:
            yield Problem(f"host {host.name}", f"failed_builds: found {failed!r}, allowed: a finite number, 0 or more")
        for name, number in host.metrics.items():
            if not _is_finite(number):
                yield Problem(f"host {host.name}", f"metrics.{name}: found {number!r}, allowed: a finite number")


def _is_finite(number: Any) -> bool:
    return type(number) in (int, float) and -float("inf") < number < float("inf")


def _aggregate_problems(hosts: tuple[Host, ...]) -> Iterable[Problem]:
    seen: dict[str, Any] = {}
    for host in hosts:
        for aggregate in host.aggregates:
            first = seen.setdefault(aggregate.name, aggregate)
            if first is not aggregate and first.metadata != aggregate.metadata:
                yield Problem(f"host {host.name}", f"aggregate {aggregate.name}: metadata differs from another host's")


def _twice_problems(hosts: tuple[Host, ...]) -> Iterable[Problem]:
    for at, _, text in twice(hosts):
        yield Problem(f"host {hosts[at].name}", text)


def twice(hosts: Sequence[Host]) -> Iterator[tuple[int, tuple[str | int, ...], str]]:
    """Yields each guest and PCI device that was there before: its host's index, the path in that host, and the text.

    A guest is on one host of the fleet, a device in a host is one device.
    """
    homes: dict[str, str] = {}
    for at, host in enumerate(hosts):
        for index, guest in enumerate(host.guests):
            if guest.uuid in homes:
                yield at, ("guests", index, "uuid"), f"guest {guest.uuid} is on host {homes[guest.uuid]} already"
            homes.setdefault(guest.uuid, host.name)
        addresses: set[str] = set()
        for index, device in enumerate(host.pci_devices):
            if device.address in addresses:
                yield at, ("pci_devices", index, "address"), f"device {device.address} is there already"
            addresses.add(device.address)
