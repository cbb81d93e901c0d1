# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operating system says of its host: names, memory, processors, bridges and the tools a boot needs."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
from typing import Any, Dict, List, Optional

TOOLS = ("qemu-img", "ssh-keygen", "openssl")
# os-release(5), ID and ID_LIKE -> the word of Ansible's os_family. Not from Ansible's own table: that would send all of
# its fact code to the host.
FAMILIES = {
    "debian": "Debian",
    "ubuntu": "Debian",
    "rhel": "RedHat",
    "fedora": "RedHat",
    "centos": "RedHat",
    "suse": "Suse",
    "opensuse": "Suse",
    "sles": "Suse",
    "arch": "Archlinux",
    "alpine": "Alpine",
    "gentoo": "Gentoo",
}
# What Ansible asks the way to for its default_ipv4 and default_ipv6, so that both say the same. Nothing is sent there.
FAR = ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2404:6800:400a:800::1012"))
# Paths that a module's environment may lack.
SEARCH_PATH = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


def identity() -> Dict[str, Any]:
    """Returns hostname, machine_id, boot_id and kernel."""
    return {
        "hostname": socket.gethostname(),
        "machine_id": _first_line("/etc/machine-id"),
        "boot_id": _first_line("/proc/sys/kernel/random/boot_id"),
        "kernel": os.uname().release,
    }


def default_route_address() -> Optional[str]:
    """Returns the address with which this host goes out over its default route, IPv4 before IPv6; None without one.

    ip(7): connecting a datagram socket sends nothing and chooses the local address by the routes.
    """
    for family, far in FAR:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return None


def operating_system() -> Dict[str, Optional[str]]:
    """Returns id and version of os-release(5) and Ansible's os_family word."""
    release = _os_release()
    identifier = release.get("ID")
    families = [identifier or "", *release.get("ID_LIKE", "").split()]
    family = next((FAMILIES[name] for name in families if name in FAMILIES), None)
    return {"id": identifier, "version": release.get("VERSION_ID"), "family": family}


def memory_mib() -> Dict[str, Optional[int]]:
    """Returns memory_mib (physical) and memory_free_mib (MemAvailable: free without swapping, proc(5))."""
    found = {}
    for line in _lines("/proc/meminfo"):
        name, _colon, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name] = int(rest.split()[0]) // 1024
    return {"memory_mib": found.get("MemTotal"), "memory_free_mib": found.get("MemAvailable")}


def bridges() -> List[str]:
    """Returns the names of all bridges of the host, whoever made them."""
    return sorted(path.split("/")[-2] for path in glob.glob("/sys/class/net/*/bridge"))


def tools() -> Dict[str, Optional[str]]:
    """Returns the path of each tool that a boot runs on the host, None for one that is missing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SEARCH_PATH])
    return {name: shutil.which(name, path=path) for name in TOOLS}


def _os_release() -> Dict[str, str]:
    found = {}
    for line in _lines("/etc/os-release") or _lines("/usr/lib/os-release"):
        match = re.match(r"([A-Z_]+)=(.*)", line)
        if match:
            found[match.group(1)] = match.group(2).strip().strip("\"'")
    return found


def _first_line(path: str) -> Optional[str]:
    lines = _lines(path)
    return lines[0].strip() if lines and lines[0].strip() else None


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()
    except OSError:
        return []
