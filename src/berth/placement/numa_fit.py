# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits a guest's NUMA cells, pinned CPUs, pages and PCI devices onto one host, and says where they go.

Source of the rules: numa_fit_instance_to_host() of nova/virt/hardware.py and support_requests() of
nova/pci/stats.py, release 34.0.0. Each guest cell is judged on each host cell afresh, where Nova keeps the
page size it chose on the cell before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from berth.placement.cores import pick_cores
from berth.placement.devices import NumaCell, PagePool
from berth.placement.model import GuestOnHost, Host
from berth.placement.numa_request import GuestCell, NumaRequest
from berth.placement.pci import PciRequest, choose_devices, free_devices
from berth.placement.pinning import CellPins, Pins
from berth.placement.reasons import Code, Reason
from berth.units import KIB


@dataclass(slots=True)
class CellUse:
    """What guests hold of one host cell."""

    floating_cpus: int = 0
    memory_mib: int = 0
    pages: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class HostUse:
    """What guests hold of one host: by cell, pinned CPUs (with those blocked), and PCI addresses."""

    cells: dict[int, CellUse]
    pinned: frozenset[int]
    devices: frozenset[str]


def host_use(host: Host, guests: Iterable[GuestOnHost]) -> HostUse:
    """Returns what the guests hold; a guest without a page size takes the smallest pages of its cell."""
    cells = {cell.id: CellUse() for cell in host.numa_cells}
    smallest = {cell.id: min((pool.size_kib for pool in cell.pages), default=0) for cell in host.numa_cells}
    pinned: set[int] = set()
    devices: set[str] = set()
    for guest in guests:
        devices.update(guest.pins.pci_addresses)
        pinned.update(guest.pins.emulator_cpus)
        for cell in guest.pins.cells:
            pinned.update(cell.cpus.values(), cell.blocked)
            use = cells.get(cell.host_cell)
            if use is None:
                continue
            use.memory_mib += cell.memory_mib
            use.floating_cpus += len(cell.guest_cpus) - len(cell.cpus)
            size_kib = cell.page_size_kib or smallest[cell.host_cell]
            if size_kib:
                use.pages[size_kib] += cell.memory_mib * KIB // size_kib
    return HostUse(cells, frozenset(pinned), frozenset(devices))


@dataclass(frozen=True, slots=True)
class _Fit:
    """One guest cell on one host cell: where it goes, and the emulator's CPU if it is isolated there."""

    pins: CellPins
    emulator_cpus: tuple[int, ...] = ()


@dataclass
class _Search:
    """The assignments of guest cells to host cells, one by one; why cells do not fit is kept in `reasons`."""

    host: Host
    use: HostUse
    wanted: NumaRequest
    cells: tuple[NumaCell, ...]
    reasons: dict[Reason, None] = field(default_factory=dict)
    _fits: dict[tuple[int, int], _Fit | Reason] = field(default_factory=dict)

    def assignments(self, chosen: tuple[_Fit, ...] = ()) -> Iterator[tuple[_Fit, ...]]:
        """Yields them in the order of permutations(); what begins with a cell that does not fit is left out at once."""
        if len(chosen) == len(self.wanted.cells):
            yield chosen
            return
        taken = {fit.pins.host_cell for fit in chosen}
        for cell in self.cells:
            if cell.id in taken:
                continue
            fit = self._fit(self.wanted.cells[len(chosen)], cell)
            if isinstance(fit, Reason):
                self.reasons[fit] = None
            else:
                yield from self.assignments((*chosen, fit))

    def _fit(self, guest_cell: GuestCell, cell: NumaCell) -> _Fit | Reason:
        key = (guest_cell.id, cell.id)
        if key not in self._fits:
            self._fits[key] = _fit_cell(self.host, self.use, self.wanted, guest_cell, cell)
        return self._fits[key]


def fit_guest(
    host: Host, use: HostUse, wanted: NumaRequest | None, devices: tuple[PciRequest, ...]
) -> Pins | tuple[Reason, ...]:
    """Returns where the guest's cells and devices go, or why they do not fit.

    Host cells are tried with the most free memory and CPUs first; with devices asked for, cells that have some
    come first, else last. The first assignment that fits is taken.
    """
    if wanted is None:
        chosen = choose_devices(host, use.devices, devices, None)
        return Pins(pci_addresses=chosen) if isinstance(chosen, tuple) else (chosen,)
    if not host.numa_cells:
        return (Reason(Code.NUMA, "NUMA: the host's facts name no NUMA cells", 0, len(wanted.cells), "cells"),)
    if len(host.numa_cells) < len(wanted.cells):
        have, need = len(host.numa_cells), len(wanted.cells)
        return (Reason(Code.NUMA, f"NUMA: need {need} cells, have {have}", have, need, "cells"),)
    cells = _in_order(host, use, wanted, bool(devices))
    search = _Search(host, use, wanted, tuple(cells))
    for found in search.assignments():
        chosen = choose_devices(host, use.devices, devices, {fit.pins.host_cell for fit in found})
        if isinstance(chosen, tuple):
            emulator = tuple(cpu for fit in found for cpu in fit.emulator_cpus)
            return Pins(tuple(fit.pins for fit in found), chosen, emulator)
        search.reasons[chosen] = None
    return tuple(search.reasons)


def _in_order(host: Host, use: HostUse, wanted: NumaRequest, wants_devices: bool) -> list[NumaCell]:
    cells = list(host.numa_cells)
    if len(cells) == len(wanted.cells):
        return cells
    cells.sort(key=lambda cell: use.cells[cell.id].memory_mib - cell.memory_mib)
    if wanted.pins:
        cells.sort(key=lambda cell: -len(cell.dedicated_cpus - use.pinned))
    else:
        cells.sort(key=lambda cell: use.cells[cell.id].floating_cpus)
    free = Counter(device.numa_node for device in free_devices(host.pci_devices, use.devices))
    cells.sort(key=lambda cell: -free[cell.id] if wants_devices else free[cell.id])
    return cells


def _fit_cell(
    host: Host, use: HostUse, wanted: NumaRequest, guest_cell: GuestCell, host_cell: NumaCell
) -> _Fit | Reason:
    cell_use = use.cells[host_cell.id]
    pages = _fit_memory(cell_use, wanted, guest_cell, host_cell)
    if isinstance(pages, Reason):
        return pages
    where = f"cell {host_cell.id}"
    reserved = 1 if wanted.isolate_emulator and guest_cell.id == 0 else 0
    pinned: dict[int, int] = {}
    blocked: tuple[int, ...] = ()
    emulator: tuple[int, ...] = ()
    if wanted.pins:
        need, free = len(guest_cell.dedicated) + reserved, host_cell.dedicated_cpus - use.pinned
        if need > len(free):
            text = f"NUMA {where}: need {need} dedicated CPUs, have {len(free)} of {len(host_cell.dedicated_cpus)}"
            return Reason(Code.NUMA, text, len(free), need, "CPUs")
        cores = pick_cores(host_cell, free, sorted(guest_cell.dedicated), wanted.thread_policy, reserved)
        if cores is None:
            text = f"NUMA {where}: its free CPUs do not satisfy the thread policy {wanted.thread_policy or 'prefer'}"
            return Reason(Code.NUMA, text, len(free), need, "CPUs")
        pinned, blocked, emulator = cores.pinned, cores.blocked, cores.emulator
    if wanted.policy != "dedicated":
        shortage = _shared_shortage(host, cell_use, guest_cell, host_cell)
        if shortage is not None:
            return shortage
    return _Fit(
        CellPins(
            guest_cell=guest_cell.id,
            host_cell=host_cell.id,
            memory_mib=guest_cell.memory_mib,
            guest_cpus=tuple(sorted(guest_cell.shared | guest_cell.dedicated)),
            cpus=pinned,
            cpuset=tuple(sorted(host_cell.shared_cpus)) if guest_cell.shared else (),
            page_size_kib=pages or None,
            blocked=blocked,
        ),
        emulator,
    )


def _shared_shortage(host: Host, cell_use: CellUse, guest_cell: GuestCell, host_cell: NumaCell) -> Reason | None:
    """Returns what is short for floating CPUs: no cell may be smaller than the guest's, nor past its ratios."""
    where, have, need = f"cell {host_cell.id}", len(host_cell.shared_cpus), len(guest_cell.shared)
    if need > have:
        return Reason(Code.NUMA, f"NUMA {where}: need {need} CPUs, the cell has {have} for sharing", have, need, "CPUs")
    cpu_limit = have * host.cpu_allocation_ratio
    if cell_use.floating_cpus + need > cpu_limit:
        left = max(0, int(cpu_limit - cell_use.floating_cpus))
        return Reason(Code.NUMA, f"NUMA {where}: need {need} CPUs, have {left} of {cpu_limit:g}", left, need, "CPUs")
    limit = host_cell.memory_mib * host.ram_allocation_ratio
    need = guest_cell.memory_mib
    if cell_use.memory_mib + need > limit:
        left = max(0, int(limit - cell_use.memory_mib))
        text = f"NUMA {where}: need {need} MiB, have {left} of {limit:g}"
        return Reason(Code.NUMA, text, left, need, "MiB")
    return None


def _fit_memory(cell_use: CellUse, wanted: NumaRequest, guest_cell: GuestCell, host_cell: NumaCell) -> int | Reason:
    """Returns the page size in KiB, 0 where none was asked for, or what is short."""
    need = guest_cell.memory_mib
    if wanted.page_size is not None:
        return _fit_pages(cell_use, wanted.page_size, need, host_cell)
    where = f"NUMA cell {host_cell.id}"
    if host_cell.pages:
        smallest = min(host_cell.pages, key=lambda pool: pool.size_kib)
        have = _pool_mib(cell_use, smallest) if wanted.pins else smallest.total * smallest.size_kib // KIB
        if need > have or need * KIB % smallest.size_kib:
            text = f"{where}: need {need} MiB in pages of {smallest.size_kib} KiB, have {have}"
            return Reason(Code.PAGES, text, have, need, "MiB")
        return 0
    have = host_cell.memory_mib - (cell_use.memory_mib if wanted.pins else 0)
    if need > have:
        return Reason(Code.NUMA, f"{where}: need {need} MiB, have {have}", have, need, "MiB")
    return 0


def _fit_pages(cell_use: CellUse, wanted: int | str, need: int, host_cell: NumaCell) -> int | Reason:
    pools = sorted(host_cell.pages, key=lambda pool: -pool.size_kib)
    candidates = {"any": pools, "small": pools[-1:], "large": pools[:-1]}.get(
        str(wanted), [pool for pool in pools if pool.size_kib == wanted]
    )
    for pool in candidates:
        if need <= _pool_mib(cell_use, pool) and need * KIB % pool.size_kib == 0:
            return pool.size_kib
    what = f"{wanted} KiB" if isinstance(wanted, int) else f"the size `{wanted}`"
    have = max((_pool_mib(cell_use, pool) for pool in candidates), default=0)
    text = f"NUMA cell {host_cell.id}: need {need} MiB in pages of {what}, have {have}"
    return Reason(Code.PAGES, text, have, need, "MiB")


def _pool_mib(cell_use: CellUse, pool: PagePool) -> int:
    return (pool.total - pool.reserved - cell_use.pages[pool.size_kib]) * pool.size_kib // KIB


def devices_only(host: Host, use: HostUse, devices: tuple[PciRequest, ...]) -> tuple[Reason, ...]:
    """Returns why the devices are not to be had on the host wherever the guest's cells lie; empty when they are."""
    chosen = choose_devices(host, use.devices, devices, None)
    return () if isinstance(chosen, tuple) else (chosen,)
