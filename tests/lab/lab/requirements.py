# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab and the image builders need on this machine, and what of it is missing."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lab import archive
from lab.shell import LabError

SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Requirements:
    """Programs and files with the Debian package that brings each."""

    programs: dict[str, str]
    files: dict[str, str]
    root: bool
    # What stands in for root's rights when an ordinary user does it.
    without_root: dict[str, str] = field(default_factory=dict)


LAB = Requirements(
    programs={
        "mmdebstrap": "mmdebstrap",
        "systemd-nspawn": "systemd-container",
        "nsenter": "util-linux",
        "ip": "iproute2",
        "ssh": "openssh-client",
        "ssh-keygen": "openssh-client",
    },
    files={archive.KEYRINGS["Debian"]: "debian-archive-keyring"},
    root=True,
)
IMAGES = Requirements(
    programs={
        "mmdebstrap": "mmdebstrap",
        "sfdisk": "fdisk",
        "mkfs.vfat": "dosfstools",
        "mcopy": "mtools",
        "mkfs.ext4": "e2fsprogs",
        "qemu-img": "qemu-utils",
        "grub-mkimage": "grub-common",
        "cpio": "cpio",
        "depmod": "kmod",
        "readelf": "binutils",
    },
    files={
        "/usr/lib/grub/i386-pc/boot.img": "grub-pc-bin",
        "/usr/lib/grub/x86_64-efi/moddep.lst": "grub-efi-amd64-bin",
    },
    root=False,
    without_root={"fakeroot": "fakeroot", "newuidmap": "uidmap"},
)


def missing(needs: Requirements) -> str | None:
    """What is missing and the command that helps, as one sentence; None when everything is there."""
    if needs.root and os.geteuid() != 0:
        return "the lab needs root (containers, bridges, mounts): run it with sudo"
    programs = needs.programs if os.geteuid() == 0 else {**needs.programs, **needs.without_root}
    absent = {program for program in programs if not shutil.which(program, path=SEARCH)}
    absent |= {file for file in needs.files if not Path(file).exists()}
    if not absent:
        return None
    packages = {package for thing, package in {**programs, **needs.files}.items() if thing in absent}
    return f"missing {', '.join(sorted(absent))}: apt-get install {' '.join(sorted(packages))}"


def check(needs: Requirements) -> None:
    """Raise LabError when something is missing."""
    text = missing(needs)
    if text:
        raise LabError(text)
