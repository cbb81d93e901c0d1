# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest holds of one host beyond amounts: CPUs, NUMA cells, memory pages and PCI devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CellPins:
    """One guest cell on one host cell.

    `guest_cpus` are all of the cell's CPUs. `cpus` maps those that are pinned to their host CPU; the others
    float over `cpuset`. `blocked` are host CPUs that nobody else may be pinned to: the siblings of an isolated
    guest's CPUs. `page_size_kib` is None when the guest did not ask for a size.
    """

    guest_cell: int
    host_cell: int
    memory_mib: int
    guest_cpus: tuple[int, ...]
    cpus: Mapping[int, int] = field(default_factory=dict)
    cpuset: tuple[int, ...] = ()
    page_size_kib: int | None = None
    blocked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pins:
    """The outcome that the domain XML says: NUMA cells in guest order, and PCI addresses in the order asked for.

    `emulator_cpus` are the host CPUs of the emulator's threads where the policy is `isolate`.
    """

    cells: tuple[CellPins, ...] = ()
    pci_addresses: tuple[str, ...] = ()
    emulator_cpus: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the pins as JSON-ready data."""
        return {
            "cells": [
                {
                    "guest_cell": cell.guest_cell,
                    "host_cell": cell.host_cell,
                    "memory_mib": cell.memory_mib,
                    "guest_cpus": list(cell.guest_cpus),
                    "cpus": {str(guest): host for guest, host in cell.cpus.items()},
                    "cpuset": list(cell.cpuset),
                    "page_size_kib": cell.page_size_kib,
                    "blocked": list(cell.blocked),
                }
                for cell in self.cells
            ],
            "pci_addresses": list(self.pci_addresses),
            "emulator_cpus": list(self.emulator_cpus),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Pins:
        """Returns the pins that to_dict() described; NO_PINS for nothing."""
        if not data:
            return NO_PINS
        cells = tuple(
            CellPins(
                guest_cell=int(cell["guest_cell"]),
                host_cell=int(cell["host_cell"]),
                memory_mib=int(cell["memory_mib"]),
                guest_cpus=tuple(cell["guest_cpus"]),
                cpus={int(guest): int(host) for guest, host in cell.get("cpus", {}).items()},
                cpuset=tuple(cell.get("cpuset", ())),
                page_size_kib=cell.get("page_size_kib"),
                blocked=tuple(cell.get("blocked", ())),
            )
            for cell in data.get("cells", ())
        )
        return cls(cells, tuple(data.get("pci_addresses", ())), tuple(data.get("emulator_cpus", ())))


NO_PINS = Pins()
