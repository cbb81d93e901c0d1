# SPDX-License-Identifier: GPL-3.0-or-later
"""What extra specs and queries may ask about a host, under the names that Nova's HostState has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from berth.placement.fleet import Rows
from berth.placement.model import Host
from berth.placement.view import View
from berth.units import MIB_PER_GIB


def _cpu_info(host: Host) -> dict[str, Any]:
    cpu = host.facts.get("cpu")
    if not isinstance(cpu, Mapping):  # a fleet's file may hold any facts
        cpu = {}
    found = {
        "arch": host.facts.get("architecture"),
        "model": cpu.get("model"),
        "vendor": cpu.get("vendor"),
        "features": cpu.get("features"),
        "topology": {
            "cells": len(host.numa_cells) or None,
            "sockets": cpu.get("sockets"),
            "cores": cpu.get("cores"),
            "threads": cpu.get("threads"),
        },
    }
    if cpu.get("maxphysaddr_bits") is not None:
        found["maxphysaddr"] = {"bits": cpu["maxphysaddr_bits"]}
    return found


FIXED: Mapping[str, Callable[[Host], Any]] = {
    "host": lambda host: host.name,
    "nodename": lambda host: host.name,
    "hypervisor_hostname": lambda host: host.name,
    "host_ip": lambda host: host.address or None,
    "hypervisor_type": lambda host: "QEMU",
    "hypervisor_version": lambda host: host.hypervisor_version,
    "cpu_info": _cpu_info,
    "supported_instances": lambda host: [list(kind) for kind in host.supported_instances],
    "total_usable_ram_mb": lambda host: host.memory_mib_total,
    "total_usable_disk_gb": lambda host: host.disk_mib_total // MIB_PER_GIB,
    "vcpus_total": lambda host: host.vcpus_total,
    "cpu_allocation_ratio": lambda host: host.cpu_allocation_ratio,
    "ram_allocation_ratio": lambda host: host.ram_allocation_ratio,
    "disk_allocation_ratio": lambda host: host.disk_allocation_ratio,
    "failed_builds": lambda host: host.failed_builds,
    "metrics": lambda host: dict(host.metrics),
    "stats": lambda host: dict(host.facts),
}

CHANGING: Mapping[str, Callable[[View, int], Any]] = {
    "free_ram_mb": lambda view, row: int(view.usage.memory_mib_free[row]),
    "free_disk_mb": lambda view, row: int(view.usage.disk_mib_free[row]),
    "disk_mb_used": lambda view, row: int(view.usage.disk_mib_booked[row] + view.fleet.reserved_host_disk_mib[row]),
    "vcpus_used": lambda view, row: int(view.usage.vcpus_booked[row] + view.fleet.reserved_host_cpus[row]),
    "num_instances": lambda view, row: int(view.usage.num_guests[row]),
    "num_io_ops": lambda view, row: int(view.usage.num_io_ops[row]),
}

# The same attributes over columns, where every host has a number.
COLUMNS: Mapping[str, Callable[[View, Rows], npt.NDArray[Any]]] = {
    "free_ram_mb": lambda view, rows: view.usage.memory_mib_free[rows],
    "free_disk_mb": lambda view, rows: view.usage.disk_mib_free[rows],
    "disk_mb_used": lambda view, rows: (view.usage.disk_mib_booked + view.fleet.reserved_host_disk_mib)[rows],
    "vcpus_used": lambda view, rows: (view.usage.vcpus_booked + view.fleet.reserved_host_cpus)[rows],
    "num_instances": lambda view, rows: view.usage.num_guests[rows],
    "num_io_ops": lambda view, rows: view.usage.num_io_ops[rows],
    "total_usable_ram_mb": lambda view, rows: view.fleet.memory_mib_total[rows],
    "total_usable_disk_gb": lambda view, rows: view.fleet.disk_mib_total[rows] // MIB_PER_GIB,
    "vcpus_total": lambda view, rows: view.fleet.vcpus_total[rows],
    "failed_builds": lambda view, rows: view.fleet.failed_builds[rows],
    "cpu_allocation_ratio": lambda view, rows: view.fleet.cpu_allocation_ratio[rows],
    "ram_allocation_ratio": lambda view, rows: view.fleet.ram_allocation_ratio[rows],
    "disk_allocation_ratio": lambda view, rows: view.fleet.disk_allocation_ratio[rows],
}

NAMES = frozenset((*FIXED, *CHANGING))


def attribute(view: View, row: int, path: Sequence[str], *, facts_too: bool = False) -> Any:
    """Returns the value at a path of names, None where there is none.

    `facts_too`: a first name that is no attribute is looked up in the host's facts, as Nova does in `stats`.
    """
    first, *rest = path
    changing = CHANGING.get(first)
    if changing is not None:
        return walk(changing(view, row), rest)
    return fixed_attribute(view.fleet.hosts[row], path, facts_too=facts_too)


def fixed_attribute(host: Host, path: Sequence[str], *, facts_too: bool = False) -> Any:
    """Returns the value at a path of names that no booking changes, None where there is none."""
    first, *rest = path
    getter = FIXED.get(first)
    if getter is not None:
        value = getter(host)
        if value is not None or not facts_too:
            return walk(value, rest)
    return walk(host.facts.get(first), rest) if facts_too else None


def walk(value: Any, path: Sequence[str]) -> Any:
    """Returns what is at the path below a value: maps are entered, texts are read as JSON first."""
    for name in path:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
