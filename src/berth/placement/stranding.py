# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs out first on the hosts that a flavor could use, and what is left idle there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from berth.placement.filters.base import Filter
from berth.placement.fleet import Fleet, Integers, Mask, build_fleet
from berth.placement.model import GuestRequest
from berth.placement.numa_request import NumaRequest
from berth.placement.outcome import asked_for
from berth.placement.reasons import Code, Reason
from berth.placement.view import View, one_row

_AMOUNTS = (("memory", "memory_mib"), ("vCPUs", "vcpus"), ("disk", "disk_mib"))
_COUNTED = {Code.GUESTS: "max_instances_per_host", Code.PCI: "PCI devices"}


@dataclass(frozen=True)
class Stranded:
    """What is left on the hosts where one resource is used up for a flavor: nobody of that flavor can have it."""

    resource: str
    hosts: int
    vcpus: int
    memory_mib: int
    disk_mib: int


def stranded(
    fleet: Fleet, request: GuestRequest, counts: Integers, usable: Mask, stops: Mapping[int, str]
) -> tuple[Stranded, ...]:
    """Returns, per resource that runs out first, what is left of the three amounts on those hosts once they are full.

    `counts` are the guests that each host takes, `usable` the hosts that the flavor could use if they had room, and
    `stops` what ended that on hosts where it may be none of the three.
    """
    usage, needs = fleet.usage, request.needs
    left = {
        "vcpus": fleet.vcpus_limit - usage.vcpus_booked - counts * needs.vcpus,
        "memory_mib": fleet.memory_mib_limit - usage.memory_mib_booked - counts * needs.memory_mib,
        "disk_mib": fleet.disk_mib_limit - usage.disk_mib_booked - counts * needs.disk_mib,
    }
    rows_of: dict[str, Mask] = {}
    open_rows = usable.copy()
    for resource, name in _AMOUNTS:
        need = getattr(needs, name)
        rows_of[resource] = open_rows & ((left[name] < need) | (getattr(fleet, f"{name}_total") < need))
        open_rows &= ~rows_of[resource]
    for row, resource in stops.items():
        if open_rows[row]:
            rows_of.setdefault(resource, np.zeros(fleet.size, dtype=bool))[row] = True
    return tuple(
        Stranded(
            resource, int(rows.sum()), **{key: int(np.maximum(0, column[rows]).sum()) for key, column in left.items()}
        )
        for resource, rows in rows_of.items()
        if rows.any()
    )


def what_stops(view: View, row: int, request: GuestRequest, rule: Filter) -> str:
    """Returns which resource it is for which the filter refuses the host."""
    reasons = rule.reasons(view, request, row)
    return _name_of(reasons[0], rule, asked_for(request, rule.options).numa) if reasons else rule.name


def _name_of(reason: Reason, rule: Filter, numa: NumaRequest | None) -> str:
    if reason.code in (Code.NUMA, Code.PAGES) and numa is not None:
        if reason.code is Code.PAGES and numa.page_size not in (None, "small"):
            return "huge pages"
        if reason.unit == "CPUs":
            return "dedicated CPUs" if numa.pins else "CPUs of NUMA cells"
        return "memory of NUMA cells"
    return _COUNTED.get(reason.code, rule.name)


def serves_when_empty(view: View, row: int, request: GuestRequest, rule: Filter) -> bool:
    """Returns whether the filter would take the guest on the host without guests: what never was there runs not out."""
    host = view.fleet.hosts[row]
    empty = replace(host, guests=(), vcpus_used=0, memory_mib_used=0, disk_mib_used=0)
    mask = rule.passes(View(build_fleet([empty]), view.now_s), request, one_row(0))
    return mask is None or bool(mask[0])
