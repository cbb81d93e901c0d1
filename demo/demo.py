#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: two real guests on this machine, through the same playbooks and modules as on a fleet.

It makes a cloud in a scratch folder with this machine as its only host, boots two guests of the tiny image, waits for a
login to both, runs a command in one and deletes both. It leaves nothing running and can be run again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from private_libvirtd import private_libvirtd

ROOT = Path(__file__).resolve().parent.parent
BERTH = Path(sys.executable).parent / "berth"
GUESTS = ("demo-1", "demo-2")


def say(text: str) -> None:
    """Prints what happens next."""
    print(f"\n# {text}", flush=True)


def berth(cloud: Path, *arguments: str) -> None:
    """Runs one berth command as a user would type it; a failure ends the demo."""
    print(f"$ berth {' '.join(arguments)}", flush=True)
    subprocess.run([str(BERTH), "--cloud", str(cloud), *arguments], check=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def hypervisor(scratch: Path) -> Iterator[str]:
    """Yields the URI of a libvirt that can be used here, and says which one it is."""
    if os.geteuid() != 0:
        say("libvirt: your own session daemon (qemu:///session), which starts by itself")
        yield "qemu:///session"
    elif _answers("qemu:///system"):
        say("libvirt: this machine's daemon (qemu:///system)")
        yield "qemu:///system"
    else:
        say("libvirt: none is running here; starting a private one, stopped again at the end")
        with private_libvirtd(scratch / "libvirt") as uri:
            yield uri


def _answers(uri: str) -> bool:
    probe = subprocess.run(["virsh", "--connect", uri, "version"], capture_output=True, timeout=20, check=False)
    return probe.returncode == 0


def tiny_image() -> Path:
    """Builds the tiny guest image from the distribution's packages, once; returns its path."""
    say("image: building the tiny guest from packages (kept for the next time)")
    built = subprocess.run(
        [sys.executable, str(ROOT / "tests/lab/lab.py"), "image", "tiny"], check=True, stdout=subprocess.PIPE, text=True
    )
    path = Path(built.stdout.strip().splitlines()[-1])
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", flush=True)
    return path


def make_cloud(cloud: Path, uri: str, image: Path) -> None:
    """Writes the demo's cloud: `berth init`, then this machine as its host and user-mode networking."""
    key = cloud.parent / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key)], check=True)
    print(f"$ berth init {cloud.name}", flush=True)
    subprocess.run(
        [str(BERTH), "init", str(cloud), "--public-key", f"{key}.pub"], check=True, stdout=subprocess.DEVNULL
    )
    data = cloud.parent / "host"
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "berth_libvirt_uri": uri,
        "berth_instances_path": str(data / "instances"),
        "berth_images_path": str(data / "images"),
        "berth_consoles_path": str(data / "consoles"),
        "berth_reserved_host_memory_mib": 0,
    }
    for name in ("instances", "images", "consoles"):
        (data / name).mkdir(parents=True)
    inventory = {"compute": {"hosts": {"localhost": host}}}
    (cloud / "inventory/hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    networks = {"networks": [{"name": "demo", "kind": "user"}]}
    (cloud / "catalog/networks.yml").write_text(yaml.safe_dump(networks, sort_keys=False))
    (cloud / "images").mkdir(exist_ok=True)
    shutil.copy(image, cloud / "images/tiny.qcow2")


def walk(cloud: Path) -> None:
    """Boots, uses and deletes the guests."""
    key = str(cloud.parent / "id_ed25519")
    say("facts: what this machine can do, and whether KVM really runs a guest here")
    berth(cloud, "host", "refresh")
    berth(cloud, "host", "list")
    say("place: where would two guests go, and why")
    shape = ("--flavor", "m1.tiny", "--image", "tiny", "--network", "demo", "--count", "2")
    berth(cloud, "place", "demo", *shape, "--explain")
    say("boot: two guests; done when a login to both succeeds")
    try:
        berth(cloud, "boot", "demo", *shape, "--key-name", "me", "--wait-login", "--identity", key)
        berth(cloud, "list")
        berth(cloud, "show", GUESTS[0])
        say("ssh: a command inside the second guest, over the host key known beforehand")
        berth(cloud, "ssh", "--identity", key, GUESTS[1], "uname", "-nr")
        berth(cloud, "log", "--lines", "1", GUESTS[0])
    finally:
        say("delete: both guests, their disks and records")
        berth(cloud, "delete", "--yes", *GUESTS)
        berth(cloud, "list")


def main() -> None:
    """Runs the demo in a scratch folder that is removed at the end."""
    image = tiny_image()
    scratch = Path(tempfile.mkdtemp(prefix="berth-demo-"))
    scratch.chmod(0o711)  # QEMU runs as a user of its own and has to get in
    try:
        with hypervisor(scratch) as uri:
            say("cloud: a folder with an inventory, a catalog and a ledger")
            cloud = scratch / "cloud"
            make_cloud(cloud, uri, image)
            walk(cloud)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say("done: nothing is left running")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"demo: {' '.join(map(str, error.cmd[:3]))} ... ended with {error.returncode}; its own words are above"
        )
    except (OSError, RuntimeError) as error:
        sys.exit(f"demo: {error}")
