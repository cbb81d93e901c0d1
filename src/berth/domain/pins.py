# SPDX-License-Identifier: GPL-3.0-or-later
"""What placement pinned a guest to, in the words of libvirt's XML: CPUs, NUMA cells, memory pages, PCI devices.

Source: libvirt, "Domain XML format", sections "CPU Tuning", "NUMA Node Tuning", "Memory Backing", "Host device
assignment"; which of them is written when is Nova's (nova/virt/libvirt/driver.py, release 34.0.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from berth.errors import Problem
from berth.units import KIB, format_cpus

# Pages of these sizes are what memory is made of anyway: they need no backing of their own.
_USUAL_PAGES_KIB = {"x86_64": (4,), "aarch64": (4, 16, 64)}
_MOST_CPUS = 65535
_ADDRESS = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


@dataclass(frozen=True)
class GuestCell:
    """One NUMA cell of the guest; `host_cell` is where its memory comes from."""

    id: int
    host_cell: int
    cpus: str
    memory_kib: int
    page_size_kib: int | None


@dataclass(frozen=True)
class Pinned:
    """What the templates write down. `vcpus` maps each of the guest's CPUs to host CPUs; all empty for most guests."""

    cells: tuple[GuestCell, ...] = ()
    vcpus: tuple[tuple[int, str], ...] = ()
    emulator: str = ""
    nodeset: str = ""
    devices: tuple[Mapping[str, str], ...] = ()
    floats: str = ""

    @property
    def backed(self) -> tuple[GuestCell, ...]:
        """Returns the cells whose memory is made of huge pages."""
        return tuple(cell for cell in self.cells if cell.page_size_kib)


def pinned(plan: Mapping[str, Any]) -> Pinned:
    """Returns what a checked plan says under `pins` (docs/data.md, section 2)."""
    pins = plan.get("pins") or {}
    usual = _USUAL_PAGES_KIB.get(str(plan.get("architecture")), (4,))
    cells, vcpus, everywhere = [], {}, set()
    for cell in pins.get("cells") or ():
        size_kib = cell.get("page_size_kib")
        cells.append(
            GuestCell(
                id=cell["guest_cell"],
                host_cell=cell["host_cell"],
                cpus=format_cpus(cell["guest_cpus"]),
                memory_kib=cell["memory_mib"] * KIB,
                page_size_kib=None if size_kib in usual else size_kib,
            )
        )
        fixed = {int(guest): host for guest, host in cell["cpus"].items()}
        for cpu in cell["guest_cpus"]:
            there = {fixed[cpu]} if cpu in fixed else set(cell["cpuset"])
            vcpus[cpu] = format_cpus(there)
            everywhere |= there
    return Pinned(
        cells=tuple(cells),
        vcpus=tuple(sorted(vcpus.items())),
        emulator=format_cpus(pins.get("emulator_cpus") or everywhere),
        nodeset=format_cpus({cell.host_cell for cell in cells}),
        floats="" if cells else format_cpus(plan.get("cpuset") or ()),
        devices=tuple(_device(address) for address in pins.get("pci_addresses") or ()),
    )


def pin_problems(plan: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields every value under the plan's `pins`, and its `cpuset`, that must not reach a domain."""
    if not _are_cpus(plan.get("cpuset") or ()):
        yield Problem("cpuset", f"found {plan['cpuset']!r}, allowed: numbers of host CPUs")
    pins = plan.get("pins")
    if pins is None:
        return
    if not isinstance(pins, Mapping):
        yield Problem("pins", f"found {pins!r}, allowed: a map, or nothing")
        return
    for address in pins.get("pci_addresses") or ():
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            yield Problem("pins.pci_addresses", f"found {address!r}, allowed: such as 0000:3b:00.0")
    if not _are_cpus(pins.get("emulator_cpus") or ()):
        yield Problem("pins.emulator_cpus", f"found {pins['emulator_cpus']!r}, allowed: numbers of host CPUs")
    cells = pins.get("cells") or []
    shapes = [problem for at, cell in enumerate(cells) for problem in _cell_problems(f"pins.cells[{at}]", cell)]
    yield from shapes
    if cells and not shapes:
        yield from _sum_problems(plan, cells)


def _cell_problems(where: str, cell: Any) -> Iterator[Problem]:
    if not isinstance(cell, Mapping):
        yield Problem(where, f"found {cell!r}, allowed: a map")
        return
    for key, least in (("guest_cell", 0), ("host_cell", 0), ("memory_mib", 1)):
        if not _is_whole(cell.get(key), least):
            yield Problem(f"{where}.{key}", f"found {cell.get(key)!r}, allowed: a whole number from {least}")
    size_kib = cell.get("page_size_kib")
    if size_kib is not None and not _is_whole(size_kib, 1):
        yield Problem(f"{where}.page_size_kib", f"found {size_kib!r}, allowed: a whole number from 1, or nothing")
    fixed, floating, guest = cell.get("cpus"), cell.get("cpuset"), cell.get("guest_cpus")
    if not isinstance(fixed, Mapping) or not _are_cpus(fixed.values()) or not all(str(n).isdecimal() for n in fixed):
        yield Problem(f"{where}.cpus", f"found {fixed!r}, allowed: a map of guest CPUs to host CPUs")
    elif not _are_cpus(guest) or not guest:
        yield Problem(f"{where}.guest_cpus", f"found {guest!r}, allowed: numbers of guest CPUs")
    elif not _are_cpus(floating) or (not floating and len(fixed) < len(guest)):
        yield Problem(f"{where}.cpuset", f"found {floating!r}, allowed: numbers of host CPUs")


def _sum_problems(plan: Mapping[str, Any], cells: list[Mapping[str, Any]]) -> Iterator[Problem]:
    named = sorted(cpu for cell in cells for cpu in cell["guest_cpus"])
    if named != list(range(plan.get("vcpus") or 0)):
        yield Problem(
            "pins.cells", f"found guest CPUs {format_cpus(named)}, allowed: each of the {plan.get('vcpus')} once"
        )
    memory_mib = sum(cell["memory_mib"] for cell in cells)
    if memory_mib != plan.get("memory_mib"):
        yield Problem("pins.cells", f"found {memory_mib} MiB in all, allowed: the guest's {plan.get('memory_mib')}")
    if [cell["guest_cell"] for cell in cells] != list(range(len(cells))):
        yield Problem("pins.cells", "found guest cells out of order, allowed: 0, 1, and so on")


def _device(address: str) -> dict[str, str]:
    domain, bus, slot, function = (f"0x{part}" for part in re.split("[:.]", address))
    return {"domain": domain, "bus": bus, "slot": slot, "function": function}


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 2**53


def _are_cpus(values: Any) -> bool:
    return isinstance(values, Iterable) and all(_is_whole(value, 0) and value <= _MOST_CPUS for value in values)
