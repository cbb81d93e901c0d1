# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has that is counted one by one: NUMA cells with their CPUs and pages, and PCI devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Nova's dev_type: a device without SR-IOV, one that has virtual functions, one that is such a function.
DEVICE_KINDS = ("type-PCI", "type-PF", "type-VF")


@dataclass(frozen=True, slots=True)
class PagePool:
    """The memory pages of one size in one cell; `reserved` are the host's own."""

    size_kib: int
    total: int
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class NumaCell:
    """One NUMA cell: the CPUs that floating guests share, those that pinned guests get, siblings, memory, pages."""

    id: int
    memory_mib: int
    shared_cpus: frozenset[int]
    dedicated_cpus: frozenset[int] = frozenset()
    siblings: tuple[frozenset[int], ...] = ()
    pages: tuple[PagePool, ...] = ()
    socket: int | None = None

    @property
    def has_threads(self) -> bool:
        """Returns whether any core has more than one thread."""
        return any(len(core) > 1 for core in self.siblings)


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI device that guests may have. `kind` is one of DEVICE_KINDS.

    `physical_function` is the address of the device that a virtual function belongs to.
    """

    address: str
    vendor_id: str
    product_id: str
    numa_node: int | None = None
    kind: str = DEVICE_KINDS[0]
    physical_function: str | None = None


def parse_cpus(text: str) -> frozenset[int]:
    """Returns the CPUs of a list such as "0-3,^2,8". Raises ValueError with what is wrong."""
    wanted: set[int] = set()
    unwanted: set[int] = set()
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        target = unwanted if part.startswith("^") else wanted
        target.update(_cpus_of(part.removeprefix("^"), text))
    return frozenset(wanted - unwanted)


def _cpus_of(part: str, text: str) -> Iterator[int]:
    first, dash, last = part.partition("-")
    low, high = first.strip(), last.strip() if dash else first.strip()
    if not (low.isdecimal() and high.isdecimal()) or int(high) < int(low) or int(high) > 65535:
        raise ValueError(f"{text!r} is no list of CPUs such as 0-3,^2,8: {part!r}")
    yield from range(int(low), int(high) + 1)
