# SPDX-License-Identifier: GPL-3.0-or-later
"""The read-only root file systems under the hosts: built once per suite and flavour, shared by all labs."""

import hashlib
import os
import shutil
from pathlib import Path

from lab import aptproxy, archive
from lab.shell import LabError, locked, run, say

BASE = (
    "systemd systemd-sysv dbus udev openssh-server python3 python3-apt sudo iproute2 iputils-ping ca-certificates "
    "less procps"
).split()
# What roles/host installs, so that a lab of ready hosts starts in seconds.
VIRTUALIZATION = (
    "libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils python3-libvirt python3-lxml dnsmasq-base "
    "nftables iptables ovmf genisoimage"
).split()
FLAVOURS = {"full": BASE + VIRTUALIZATION, "bare": BASE}
REVISION = 1  # raise it when build() changes what it writes


def path(base: Path, suite: str, flavour: str) -> Path:
    """Where the root file system of a suite and flavour is, built or not."""
    if suite not in archive.SUITES:
        raise LabError(f"suite {suite!r}: one of {', '.join(archive.SUITES)}")
    key = hashlib.sha256(f"{REVISION} {suite} {' '.join(FLAVOURS[flavour])}".encode()).hexdigest()[:10]
    return base / "rootfs" / f"{suite}-{flavour}-{key}"


def ensure(base: Path, suite: str, flavour: str) -> Path:
    """Build the root file system unless it is there; several labs may ask at once."""
    target = path(base, suite, flavour)
    with locked(base / "rootfs" / f"{target.name}.lock"):
        if not target.exists():
            say(f"building root file system {target.name} (once)")
            build(base, suite, FLAVOURS[flavour], target)
    return target


def build(base: Path, suite: str, packages: list[str], target: Path) -> None:
    """Install the packages into a new folder; it appears under its name only when complete."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with aptproxy.serving(archive.of_this_machine("Debian"), base / "debs") as served:
        run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--mode=root",
            "--include=" + ",".join(packages),
            "--aptopt=APT::Install-Recommends false",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            suite,
            part,
            *served.sources(suite),
        )
    etc = part / "etc"
    (etc / "apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (etc / "apt/apt.conf.d/90lab").write_text('APT::Install-Recommends "false";\n')
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()
    (etc / "machine-id").write_text("")
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text("")
    # Ansible's apt module takes this folder's time for the last update, and the lists are empty.
    os.utime(part / "var/lib/apt/lists", (0, 0))
    run("systemctl", "--quiet", f"--root={part}", "enable", "systemd-networkd.service", "ssh.service")
    part.rename(target)
