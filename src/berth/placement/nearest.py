# SPDX-License-Identifier: GPL-3.0-or-later
"""What would help a guest that no host can take: the nearest misses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from berth.placement.filters.base import Filter
from berth.placement.filters.resources import Resources
from berth.placement.fleet import ALL, Integers, Mask, limit_of
from berth.placement.model import GuestRequest
from berth.placement.profile import Pipeline
from berth.placement.view import View

_HINTS = 4
_NAMED = 3
_RATIOS = {"memory": "ram_allocation_ratio", "vCPUs": "cpu_allocation_ratio", "disk": "disk_allocation_ratio"}

# Old names of Resources: where that refuses already they add no reason of their own.
_SAY_THE_SAME = tuple(f"{start}{what}Filter" for start in ("", "Aggregate") for what in ("Ram", "Core", "Disk"))

RowNumbers = npt.NDArray[np.intp]


def nearest_misses(view: View, request: GuestRequest, pipeline: Pipeline) -> tuple[str, ...]:
    """Returns up to four hints, the most useful first; each names hosts and numbers.

    A host counts when one filter alone refuses it: the resources it lacks, the ratio that would do, or the
    filter without which it would serve.
    """
    if not view.fleet.size:
        return ("the fleet is empty: list hosts under `compute` in the inventory, then run `berth host prepare`",)
    blockers = _sole_blockers(view, request, pipeline)
    found: list[str] = []
    for rule, rows in blockers:
        if isinstance(rule, Resources):
            found.extend(_resource_hints(view, request, rows))
    others = [(rule, rows) for rule, rows in blockers if not isinstance(rule, Resources)]
    for rule, rows in sorted(others, key=lambda pair: -pair[1].size):
        found.append(f"{rule.name} alone keeps it off {_hosts(view, rows)}")
    return tuple(found[:_HINTS])


def _sole_blockers(view: View, request: GuestRequest, pipeline: Pipeline) -> list[tuple[Filter, RowNumbers]]:
    """Returns each filter with the rows that it alone refuses."""
    size = view.fleet.size
    refusals = np.zeros(size, dtype=np.intp)
    masks: list[tuple[Filter, Mask]] = []
    lacking = np.zeros(size, dtype=bool)
    for rule in pipeline.forced if request.force_host else pipeline.filters:
        mask = rule.passes(view, request, ALL)
        if mask is not None:
            if isinstance(rule, Resources):
                lacking = ~mask
            elif rule.name in _SAY_THE_SAME:
                mask = mask | lacking
            refusals += ~mask
            masks.append((rule, mask))
    alone = refusals == 1
    found = ((rule, np.flatnonzero(~mask & alone)) for rule, mask in masks)
    return [(rule, rows) for rule, rows in found if rows.size]


def _resource_hints(view: View, request: GuestRequest, rows: RowNumbers) -> Iterator[str]:
    table = _Shortages(view, request, rows)
    best = int(np.argmin(table.severity))
    if np.isfinite(table.severity[best]):
        parts = [f"{int(short[best])} {unit}" for unit, short in table.short.items() if short[best] > 0]
        yield f"would fit with {' and '.join(parts)} more on {view.fleet.names[rows[best]]}"
    else:
        yield f"no host is large enough as a whole: the largest lacks {table.lack_of_size()}"
    for what, ratio, fits in table.ratios():
        yield f"would fit on {_hosts(view, rows[fits])} with {_RATIOS[what]} {ratio:.15g}"


class _Shortages:
    """What each of some hosts lacks, by resource. A host that is too small as a whole has no shortage to fill."""

    def __init__(self, view: View, request: GuestRequest, rows: RowNumbers) -> None:
        fleet, usage, needs = view.fleet, view.usage, request.needs
        self._columns: dict[str, tuple[int, Integers, Integers, Integers, Integers]] = {
            "memory": (
                needs.memory_mib,
                fleet.memory_mib_total[rows],
                fleet.reserved_host_memory_mib[rows],
                fleet.memory_mib_limit[rows],
                usage.memory_mib_booked[rows],
            ),
            "vCPUs": (
                needs.vcpus,
                fleet.vcpus_total[rows],
                fleet.reserved_host_cpus[rows],
                fleet.vcpus_limit[rows],
                usage.vcpus_booked[rows],
            ),
            "disk": (
                needs.disk_mib,
                fleet.disk_mib_total[rows],
                fleet.reserved_host_disk_mib[rows],
                fleet.disk_mib_limit[rows],
                usage.disk_mib_booked[rows],
            ),
        }
        self.short: dict[str, Integers] = {}
        self.severity = np.zeros(rows.size)
        for what, (need, total, _, limit, booked) in self._columns.items():
            unit = what if what == "vCPUs" else f"MiB {what}"
            short = np.maximum(0, booked + need - limit)
            self.short[unit] = short
            self.severity += short / max(need, 1)
            self.severity[total < need] = np.inf

    def only(self, what: str) -> Mask:
        """Returns the hosts that lack this resource alone and are large enough for it."""
        unit = what if what == "vCPUs" else f"MiB {what}"
        mask: Mask = np.isfinite(self.severity) & (self.short[unit] > 0)
        for other, short in self.short.items():
            if other != unit:
                mask &= short == 0
        return mask

    def ratios(self) -> Iterator[tuple[str, float, Mask]]:
        """Yields, per resource that hosts lack alone, the least ratio in tenths that will do, and where it does."""
        for what, (need, total, reserved, _, booked) in self._columns.items():
            mask = self.only(what)
            free = total - reserved
            if not mask.any() or bool((mask & (free <= 0)).any()):
                continue
            least = float(((booked[mask] + need) / free[mask]).min())
            tenths = math.ceil(least * 10 - 1e-9)
            # The limit is rounded down, and 30 * 8.2 is a little below 246: then it takes a tenth more.
            for ratio in (tenths / 10, (tenths + 1) / 10):
                fits = mask & (limit_of(free, ratio) - booked >= need)
                if fits.any():
                    yield what, ratio, fits
                    break

    def lack_of_size(self) -> str:
        """Returns how much the largest host is too small, for the first resource where all are."""
        for what, (need, total, _, _, _) in self._columns.items():
            if int(total.max()) < need:
                unit = "" if what == "vCPUs" else " MiB"
                return f"{need - int(total.max())}{unit} {what}"
        return "one resource or another"


def _hosts(view: View, rows: RowNumbers) -> str:
    names = [view.fleet.names[row] for row in rows[:_NAMED]]
    listed = ", ".join(names) + (", ..." if rows.size > _NAMED else "")
    return f"{rows.size} {'host' if rows.size == 1 else 'hosts'} ({listed})"
