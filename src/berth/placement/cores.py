# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host CPUs a guest's CPUs are pinned to, by thread policy.

Source of the rules: _pack_instance_onto_cores() of nova/virt/hardware.py, release 34.0.0. `prefer` (also when
nothing is said) takes whole cores where it can and single threads where it cannot, `require` takes siblings
only, `isolate` takes one thread of each core, and nobody else gets the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from berth.placement.devices import NumaCell


@dataclass(frozen=True, slots=True)
class Cores:
    """Guest CPU -> host CPU, the host CPUs blocked beside them, and the emulator's own."""

    pinned: dict[int, int]
    blocked: tuple[int, ...] = ()
    emulator: tuple[int, ...] = ()


def pick_cores(
    cell: NumaCell, free: frozenset[int], guest_cpus: list[int], policy: str | None, reserved: int
) -> Cores | None:
    """Returns where the guest's CPUs go in the cell, `reserved` more CPUs for the emulator; None: they do not fit."""
    siblings = cell.siblings or tuple(frozenset((cpu,)) for cpu in sorted(cell.shared_cpus | cell.dedicated_cpus))
    threads = max((len(core) for core in siblings), default=1) or 1
    cores = [sorted(core & free) for core in siblings]
    if policy == "isolate":
        return _isolated(cell, cores, guest_cpus, threads, reserved)
    if policy == "require" and threads <= 1:
        return None
    for count in range(threads, 1 if policy == "require" else 0, -1):
        usable = [core[:count] for core in cores if len(core) >= count]
        found = _pin(usable, cores, guest_cpus, reserved)
        if found is not None:
            return found
    if policy == "require":
        return None
    singles = [[cpu] for cpu in chain.from_iterable(cores)]
    return _pin(singles, cores, guest_cpus, reserved)


def _pin(usable: list[list[int]], cores: list[list[int]], guest_cpus: list[int], reserved: int) -> Cores | None:
    host_cpus = list(chain.from_iterable(usable))
    if len(host_cpus) < len(guest_cpus):
        return None
    pinned = dict(zip(guest_cpus, host_cpus, strict=False))
    taken = set(pinned.values())
    left = [cpu for cpu in chain.from_iterable(cores) if cpu not in taken]
    if len(left) < reserved:
        return None
    return Cores(pinned, (), tuple(left[:reserved]))


def _isolated(
    cell: NumaCell, cores: list[list[int]], guest_cpus: list[int], threads: int, reserved: int
) -> Cores | None:
    whole = [core for core in cores if len(core) == threads]
    if threads > 1 and cell.dedicated_cpus != cell.shared_cpus:
        return None  # as in Nova: with threads, isolate needs a host whose CPUs are all for both uses
    if len(whole) < len(guest_cpus):
        return None
    pinned = {guest: core[0] for guest, core in zip(guest_cpus, whole, strict=False)}
    used = [core for core in whole if core[0] in set(pinned.values())]
    blocked = tuple(cpu for core in used for cpu in core[1:])
    taken = {*pinned.values(), *blocked}
    left = [cpu for cpu in chain.from_iterable(cores) if cpu not in taken]
    if len(left) < reserved:
        return None
    emulator = left[:reserved]
    beside = (cpu for core in cores if set(core) & set(emulator) for cpu in core)
    return Cores(pinned, tuple({*blocked, *beside} - set(emulator)), tuple(emulator))
