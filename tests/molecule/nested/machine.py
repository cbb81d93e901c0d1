#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's only host: a virtual machine with libvirt inside, started by QEMU itself and reached over loopback.

machine.py up FOLDER     boots it, waits for a login and prints how to reach it as JSON
machine.py down FOLDER   stops it and removes the folder
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from ansible_collections.berth.kvm.plugins.module_utils import kvm_probe

from berth.domain import seed as berth_seed
from lab import emulator, images, layout
from lab.emulator import Hardware, Machine
from lab.shell import LabError, is_running, spawn, wait_for

USER = "debian"
LOGIN_S = 900
QEMU = "/usr/bin/qemu-system-x86_64"


def up(folder: Path) -> None:
    """Boot the machine; it outlives this program. A machine without a login is stopped again."""
    image = images.ensure("debian-12-libvirt", layout.base_dir())
    folder.mkdir(parents=True)
    machine = emulator.prepared(folder, seed(folder), USER)
    pid = spawn(machine.argv(image, hardware()), folder / "qemu.log", dict(os.environ))
    (folder / "pid").write_text(str(pid))
    write_ssh_config(folder, machine)
    try:
        machine.wait_for_login(LOGIN_S)
    except LabError:
        stop(folder)
        raise
    print(json.dumps({"address": "127.0.0.1", "port": machine.port, "user": USER}))


def hardware() -> Hardware:
    """KVM where it really runs a guest. Else emulated: with `max,-svm` of QEMU 7.2, systemd saw none of its mounts."""
    device = Path(kvm_probe.DEVICE).exists()
    emulated = kvm_probe.Emulator(QEMU, None, "q35", "x86_64", kvm_listed=True)
    works = device and kvm_probe.run_guest(emulated).works
    accel, cpu = ("kvm", "host") if works else ("tcg", "Nehalem")
    print(f"nested: the machine runs on {accel}", file=sys.stderr, flush=True)
    return Hardware(accel=accel, cpu=cpu, memory_mib=2048, vcpus=2)


def seed(folder: Path) -> dict[str, str]:
    """The seed that Berth would write, with a host key that is known before the machine is there."""
    public, private = emulator.make_keys(folder)
    network = {**emulator.NETWORK, "assignment": "static", "mtu": None}
    plan = {"uuid": "nested", "name": "nested", "public_keys": [public], "user_data": None, "networks": [network]}
    texts = berth_seed.seed_of(plan, "unused")
    keys = {"ed25519_private": private, "ed25519_public": (folder / "host_key.pub").read_text().strip()}
    return {
        "meta-data": texts["meta_data"],
        "user-data": texts["user_data"],
        "network-config": texts["network_config"],
        "vendor-data": f"#cloud-config\n{json.dumps({**texts['vendor_data'], 'ssh_keys': keys})}\n",
    }


def write_ssh_config(folder: Path, machine: Machine) -> None:
    """What ssh, Ansible's and Berth's, is told with -F."""
    lines = {
        "Port": machine.port,
        "User": USER,
        "IdentityFile": folder / "user_key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    (folder / "ssh_config").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))


def stop(folder: Path) -> None:
    """End QEMU if it still runs."""
    file = folder / "pid"
    if not file.exists():
        return
    pid, mark = int(file.read_text()), f"file:{folder}/console.log"
    if is_running(pid, mark):
        os.kill(pid, signal.SIGKILL)
        if not wait_for(lambda: not is_running(pid, mark), 30):
            raise LabError(f"process {pid} does not end")


def down(folder: Path) -> None:
    """Leave nothing of the machine."""
    stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Carry out one command; 1 with one line of text when it failed, 2 for a wrong call."""
    actions = {"up": up, "down": down}
    if len(sys.argv) != 3 or sys.argv[1] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        actions[sys.argv[1]](Path(sys.argv[2]))
    except LabError as error:
        print(f"nested: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
