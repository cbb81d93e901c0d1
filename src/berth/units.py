# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place where units are converted. Binary units throughout: 1 GiB = 1024 MiB."""

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
