# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place where units are converted. Binary units throughout: 1 GiB = 1024 MiB."""

from collections.abc import Iterable
from datetime import UTC, datetime

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
MIB_PER_GIB = 1024


def bytes_to_mib_floor(size_bytes: int) -> int:
    """Returns whole MiB that fit in size_bytes: the safe direction for what a host offers."""
    return size_bytes // MIB


def bytes_to_mib_ceil(size_bytes: int) -> int:
    """Returns the MiB needed to hold size_bytes: the safe direction for what a guest needs."""
    return -(-size_bytes // MIB)


def bytes_to_gib_ceil(size_bytes: int) -> int:
    """Returns the GiB needed to hold size_bytes."""
    return -(-size_bytes // GIB)


def format_cpus(cpus: Iterable[int]) -> str:
    """Returns CPUs, or NUMA nodes, as the kernel and libvirt write a set of them: "0-3,8"."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def iso_time(seconds: float) -> str:
    """Returns seconds since the epoch as ISO 8601 in UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
