# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's files on its host: instance folder, overlay disks, console log.

What exists is never touched: it may hold the guest's data. What is made gets its name when it is complete, so a killed
run leaves a `.part` and never half a disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import List, Optional

from ansible_collections.berth.kvm.plugins.module_utils import guest_tool
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import OWN_FILE, Definition, Disk, Target
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import HOST, REQUEST, GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_format import inspect
from ansible_collections.berth.kvm.plugins.module_utils.image_qcow2 import backing_file

GIB = 1024**3
MIB = 1024**2
FOLDER_MODE = 0o711  # QEMU's user goes through it, and can list nothing
ANY_SIZE_BYTES = 1 << 62


def make_folder(path: str) -> bool:
    """Returns whether the folder was made now. Its parents are made where they are missing."""
    os.makedirs(os.path.dirname(path), mode=FOLDER_MODE, exist_ok=True)
    try:
        os.mkdir(path, FOLDER_MODE)
    except FileExistsError:
        return False
    os.chmod(path, FOLDER_MODE)  # the umask may have taken bits away
    return True


def image_size_bytes(definition: Definition, disk: Disk) -> int:
    """Returns the virtual size of the disk's backing image, from its inspected header.

    Raises GuestFailure when it is not there or is nothing a guest may be based on.
    """
    what = f"guest {definition.name}: its image {disk.backing_path}"
    try:
        with open(disk.backing_path, "rb") as file:
            return inspect(file, declared=disk.backing_format, max_virtual_size_bytes=ANY_SIZE_BYTES).virtual_size_bytes
    except ImageFailure as error:
        raise GuestFailure("image_refused", f"{what}: {error}", REQUEST) from error
    except FileNotFoundError as error:
        raise GuestFailure("image", f"{what} is not on this host; let berth.kvm.image make it present", HOST) from error
    except OSError as error:
        raise GuestFailure("image", f"{what} cannot be read: {error.strerror}", HOST) from error


def check_disk_size(definition: Definition, disk: Disk, virtual_size_bytes: int) -> None:
    """Raises GuestFailure when the disk is smaller than what is on it."""
    if disk.size_gib * GIB < virtual_size_bytes:
        raise GuestFailure(
            "disk_size",
            f"guest {definition.name}: a disk of {disk.size_gib} GiB is smaller than its image of "
            f"{virtual_size_bytes / GIB:.2f} GiB; take a flavor with a larger disk",
            REQUEST,
        )


def make_disk(disk: Disk) -> bool:
    """Returns whether the overlay was made now; an existing disk stays as it is.

    Raises GuestFailure, also for an existing one that is based on another image: its content is nothing without that.
    """
    if os.path.lexists(disk.path):
        with open(disk.path, "rb") as file:
            base = backing_file(file)
        if base != disk.backing_path:
            raise GuestFailure(
                "base",
                f"{disk.path} is there and based on {base or 'nothing'}, not on {disk.backing_path}: the image was "
                "another one when it was made; give that one's digest in the catalog, or delete the guest",
            )
        return False
    part = fresh_part(disk.path)
    backing = ["-b", disk.backing_path, "-F", disk.backing_format]
    guest_tool.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, part, f"{disk.size_gib}G"], "qemu_img")
    os.rename(part, disk.path)
    return True


def fresh_part(path: str) -> str:
    """Returns the name of an empty file, 0600, that is to become `path`."""
    part = path + ".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return part


def remove_parts(folder: str) -> None:
    """Removes what an earlier call that was killed left half made."""
    for name in _names(folder):
        if OWN_FILE.match(name) and (name.endswith(".part") or name.startswith("hostkey")):
            os.unlink(os.path.join(folder, name))


def remove_all(target: Target) -> List[str]:
    """Removes a guest's own files, its folder and its console log; returns the paths removed.

    Files that are not the guest's own stay, and so does the folder around them. Follows no links.
    """
    removed = []
    folder = target.instance_dir
    if folder is not None:
        for name in _names(folder):
            if OWN_FILE.match(name):
                os.unlink(os.path.join(folder, name))
                removed.append(os.path.join(folder, name))
        if _remove_folder(folder):
            removed.append(folder)
    return removed + remove_console_log(target.console_log)


def remove_console_log(path: Optional[str]) -> List[str]:
    """Removes a console log with what virtlogd rotated away beside it (`.0`, `.1`...); returns the paths removed."""
    if path is None:
        return []
    folder, log = os.path.split(path)
    rotated = re.compile(re.escape(log) + r"(\.[0-9]{1,3})?\Z")
    found = [os.path.join(folder, name) for name in _names(folder) if rotated.match(name)]
    for name in found:
        os.unlink(name)
    return found


def leftovers(target: Target) -> List[str]:
    """Returns what is in the instance folder and is not the guest's own: nobody told us to remove that."""
    return [name for name in _names(target.instance_dir or "") if not OWN_FILE.match(name)]


def present_files(target: Target) -> List[str]:
    """Returns the guest's own files, folder and console logs that are there."""
    folder = target.instance_dir or ""
    found = [os.path.join(folder, name) for name in _names(folder) if OWN_FILE.match(name)]
    if os.path.isdir(folder) and not leftovers(target):
        found.append(folder)
    if target.console_log and os.path.lexists(target.console_log):
        found.append(target.console_log)
    return found


def free_mib(path: str) -> int:
    """Returns the free space, for an ordinary user, of the file system that `path` is or will be on."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize // MIB


def _remove_folder(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
