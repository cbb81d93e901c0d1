# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a lab host (any Python 3, standard library only): prints what is there as JSON, section by section."""

import json
import os
import pwd
import re
import shutil
import stat
import subprocess

FOLDERS = (
    "/var/lib/berth",
    "/var/lib/libvirt",
    "/etc/libvirt",
    "/etc/apparmor.d/libvirt",
    "/run/libvirt/qemu",
    "/run/lock",
    "/run/berth",
    "/srv/shared",
    "/tmp",
    "/var/tmp",
    "/root",
)
# Guests and the programs that serve them. Daemons that systemd starts on demand say nothing about leftovers.
PROGRAMS = re.compile(r"qemu|dnsmasq|swtpm|passt|slirp|virtiofsd|genisoimage|mkisofs")
LEASES = "/var/lib/libvirt/dnsmasq"
# Made by the first that locks something and kept until the host boots; what is in it counts.
LOCKS = "/run/lock/berth"


def answer(*argv: str) -> list[str]:
    """Lines of a command's output; none when the host lacks the program or it fails."""
    if not shutil.which(argv[0]):
        return []
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def owner(uid: int) -> str:
    """Name of a user, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def files() -> list[str]:
    """Every path below FOLDERS with its mode and owner; sizes and times change without anything being left."""
    found = []
    for folder in FOLDERS:
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith("systemd-private-")]
            for name in folders + names:
                path = os.path.join(parent, name)  # noqa: PTH118
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    continue
                if path != LOCKS and not is_empty_list(path):
                    found.append(f"{path} {stat.filemode(status.st_mode)} {owner(status.st_uid)}")
    return found


def is_empty_list(path: str) -> bool:
    """Whether this is libvirt's list of a network's MACs with none on it: it stays from the first guest on."""
    if not path.endswith(".macs"):
        return False
    with open(path) as handle:  # noqa: PTH123
        text = handle.read().strip()
    return not text or not json.loads(text)


def leases() -> list[str]:
    """DHCP leases of libvirt's networks: bridge, MAC and address."""
    found = []
    for name in os.listdir(LEASES) if os.path.isdir(LEASES) else []:  # noqa: PTH112, PTH208
        if name.endswith(".status"):
            with open(os.path.join(LEASES, name)) as handle:  # noqa: PTH118, PTH123
                text = handle.read().strip()
            for lease in json.loads(text) if text else []:
                found.append(f"{name[:-7]} {lease.get('mac-address')} {lease.get('ip-address')}")
    return found


def processes() -> list[str]:
    """Command lines of guests and their helpers."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as handle:  # noqa: PTH123
                words = handle.read().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if PROGRAMS.search(words[0].rsplit("/", 1)[-1]):
            found.append(" ".join(words).strip())
    return found


def mounts() -> list[str]:
    """Mount points."""
    with open("/proc/self/mountinfo") as handle:  # noqa: PTH123
        return [line.split()[4] for line in handle if not line.split()[4].startswith(("/run/credentials", "/run/user"))]


def ruleset() -> list[str]:
    """The firewall's rules without counters, each with its table and chain, so that a line says where it is."""
    found, table, chain = [], "", ""
    for line in answer("nft", "--stateless", "list", "ruleset"):
        if line.startswith("table "):
            table, chain = line.rstrip(" {"), ""
            found.append(table)
        elif line.endswith("{"):
            chain = line.rstrip(" {")
            found.append(f"{table} {chain}")
        elif line != "}":
            found.append(f"{table} {chain}: {line}")
    return found


def domains() -> list[str]:
    """Every domain, running or not, with its UUID and state."""
    uuids = answer("virsh", "--quiet", "list", "--all", "--uuid")
    return [" ".join([uuid, *answer("virsh", "domname", uuid), *answer("virsh", "domstate", uuid)]) for uuid in uuids]


def named(kind: str) -> list[str]:
    """Networks or pools, with whether each is active."""
    active = set(answer("virsh", "--quiet", f"{kind}-list", "--name"))
    return [
        f"{name} {'active' if name in active else 'inactive'}"
        for name in answer("virsh", "--quiet", f"{kind}-list", "--all", "--name")
    ]


print(
    json.dumps(
        {
            "domains": domains(),
            "networks": named("net"),
            "pools": named("pool"),
            "files": files(),
            "leases": leases(),
            "processes": processes(),
            "links": os.listdir("/sys/class/net"),  # noqa: PTH208
            "mounts": mounts(),
            "firewall": ruleset(),
        }
    )
)
