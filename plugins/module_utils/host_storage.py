# SPDX-License-Identifier: GPL-3.0-or-later
"""What the folders of a host can hold: space by statvfs(3), reflinks by trying one, sizes of disks by their header."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import tempfile
from typing import Any, BinaryIO, Dict, Optional

MIB = 1024 * 1024
# FICLONE of ioctl_ficlonerange(2): _IOW(0x94, 9, int).
FICLONE = 0x40049409
BLOCK = 4096
# docs/interop/qcow2.txt of QEMU: magic at byte 0, size at byte 24, both big-endian.
QCOW2_MAGIC = b"QFI\xfb"
QCOW2_SIZE_AT = 24


def storage(instances_path: str) -> Dict[str, Any]:
    """Returns the part `storage` of the facts. For a folder that does not exist all but `writable` is None."""
    facts = {"instances_path": instances_path, "filesystem": None, "reflink": None, "disk_total_mib": None}
    facts.update(folder(instances_path))
    if facts.pop("exists"):
        facts["filesystem"] = filesystem(instances_path)
        facts["disk_total_mib"] = _space(instances_path)[0]
        facts["reflink"] = reflink(instances_path) if facts["writable"] else None
    return facts


def images(images_path: str) -> Dict[str, Any]:
    """Returns the part `images` of the facts."""
    facts = {"path": images_path}
    facts.update(folder(images_path))
    del facts["exists"]
    return facts


def folder(path: str) -> Dict[str, Any]:
    """Returns exists, writable and disk_free_mib: what an ordinary user may still write, in whole MiB."""
    exists = os.path.isdir(path)
    return {
        "exists": exists,
        "writable": exists and os.access(path, os.W_OK | os.X_OK),
        "disk_free_mib": _space(path)[1] if exists else None,
    }


def _space(path: str) -> Any:
    try:
        found = os.statvfs(path)
    except OSError:
        return None, None
    return found.f_blocks * found.f_frsize // MIB, found.f_bavail * found.f_frsize // MIB


def filesystem(path: str) -> Optional[str]:
    """Returns the type of the file system that holds `path`, by proc_pid_mountinfo(5)."""
    path = os.path.realpath(path)
    best = ("", None)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.readlines()
    except OSError:
        return None
    for line in lines:
        before, _dash, after = line.partition(" - ")
        point = before.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one is on top.
        if inside and len(point) >= len(best[0]):
            best = (point, after.split()[0])
    return best[1]


def reflink(path: str) -> Optional[bool]:
    """Returns whether files in the folder can share blocks. Leaves nothing: its two files never have a name."""
    try:
        with _nameless(path) as source, _nameless(path) as target:
            source.write(b"\0" * BLOCK)
            source.flush()
            try:
                fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
            except OSError:
                return False
            return True
    except OSError:
        return None


def _nameless(path: str) -> BinaryIO:
    return tempfile.TemporaryFile(dir=path)  # type: ignore[return-value]


def disk_capacity_mib(path: Optional[str], disk_format: Optional[str]) -> Optional[int]:
    """Returns the size that a guest sees of a disk, rounded up, without starting qemu-img. None when it cannot be told.

    The format is the one that the domain declares, never one that the content suggests: a guest writes its own disk.
    """
    if not path:
        return None
    try:
        # Non-blocking: a path that turns out to be a pipe must not hold up the facts.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                return None
            size = _SIZES[disk_format](stream) if disk_format in _SIZES else None
    except OSError:
        return None
    return None if size is None else -(-size // MIB)


def _qcow2_size(stream: BinaryIO) -> Optional[int]:
    header = stream.read(QCOW2_SIZE_AT + 8)
    if len(header) < QCOW2_SIZE_AT + 8 or header[:4] != QCOW2_MAGIC:
        return None
    return int(struct.unpack_from(">Q", header, QCOW2_SIZE_AT)[0])


def _raw_size(stream: BinaryIO) -> int:
    return stream.seek(0, os.SEEK_END)


_SIZES = {"qcow2": _qcow2_size, "raw": _raw_size}
