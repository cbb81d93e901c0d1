# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.fleet import Integers
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class Resources(Filter):
    """Passes hosts with room for the guest's vCPUs, memory and disk. Always on, also for a forced host.

    Nova asks its placement service this before any filter: used + need <= (total - reserved) * ratio, and
    need <= the physical total, whatever the ratio. Reasons: "memory: need 4096 MiB, have 1024 MiB of ...",
    "memory: need 4096 MiB, more than the host's 2048 MiB"; "no vCPUs known" where the facts say 0.
    """

    reads = Reads.ROW

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns which rows have room for all three."""
        usage, needs = view.usage, request.needs
        mask: Mask = usage.memory_mib_room[rows] >= needs.memory_mib
        mask &= usage.vcpus_room[rows] >= needs.vcpus
        mask &= usage.disk_mib_room[rows] >= needs.disk_mib
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns each of the three that is short, with what there is and what is needed."""
        fleet, usage, needs = view.fleet, view.usage, request.needs
        found = (
            _shortage(
                (Code.VCPUS, "vCPUs", ""),
                needs.vcpus,
                (fleet.vcpus_total, fleet.vcpus_limit, usage.vcpus_booked),
                row,
            ),
            _shortage(
                (Code.MEMORY, "memory", "MiB"),
                needs.memory_mib,
                (fleet.memory_mib_total, fleet.memory_mib_limit, usage.memory_mib_booked),
                row,
            ),
            _shortage(
                (Code.DISK, "disk", "MiB"),
                needs.disk_mib,
                (fleet.disk_mib_total, fleet.disk_mib_limit, usage.disk_mib_booked),
                row,
            ),
        )
        return tuple(reason for reason in found if reason is not None)


def _shortage(
    words: tuple[Code, str, str], need: int, columns: tuple[Integers, Integers, Integers], row: int
) -> Reason | None:
    code, what, unit = words
    total, limit, booked = (int(column[row]) for column in columns)
    have = limit - booked
    if need <= min(have, total):
        return None
    suffix = f" {unit}" if unit else ""
    if not total:
        text = f"{what}: need {need}{suffix}, the facts know of none"
        return Reason(Code.NO_FACTS, text, 0, need, unit)
    if need > total:
        text = f"{what}: need {need}{suffix}, more than the host's {total}{suffix}, whatever the ratio"
        return Reason(code, text, total, need, unit)
    text = f"{what}: need {need}{suffix}, have {max(have, 0)}{suffix} of {limit}{suffix} for guests"
    return Reason(code, text, max(have, 0), need, unit)
