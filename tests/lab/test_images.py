# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest images, each booted with the seed that Berth writes and reached with the host key that the seed holds."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.domain import seed as berth_seed
from lab import emulator, requirements
from lab.emulator import Hardware, Machine

pytestmark = pytest.mark.lab

SCRIPT = "#!/bin/sh\necho run >>/root/runs\n"


def seed(folder: Path, indent: int | None, user_data: str | None, **network: str) -> dict[str, str]:
    """The files of a guest's seed, as Berth makes them, with a host key made here."""
    public, private = emulator.make_keys(folder)
    networks = [{**emulator.NETWORK, "assignment": "static", "mtu": None, **network}]
    plan = {"uuid": "i-1", "name": "web-1", "public_keys": [public], "user_data": user_data, "networks": networks}
    texts = berth_seed.seed_of(plan, "unused")
    host_key = {"ed25519_private": private, "ed25519_public": (folder / "host_key.pub").read_text().strip()}
    vendor = json.dumps({**texts["vendor_data"], "ssh_keys": host_key}, indent=indent)
    return {
        "meta-data": texts["meta_data"],
        "user-data": texts["user_data"],
        "network-config": texts["network_config"],
        "vendor-data": f"#cloud-config\n{vendor}\n",
    }


def shut_down(machine: Machine, seconds: float) -> None:
    """Press the power button and see the machine go."""
    machine.monitor("system_powerdown")
    assert machine.has_stopped(seconds), machine.console[-2000:]


def test_tiny_boots_and_keeps_its_key(guest_image: Callable[[str], Path], tmp_path: Path) -> None:
    files = seed(tmp_path, None, SCRIPT)
    with emulator.booted(tmp_path, guest_image("tiny"), files, "root", Hardware()) as machine:
        machine.wait_for_login(60)
        assert machine.ssh("hostname; cat /root/runs /etc/resolv.conf") == "web-1\nrun\nnameserver 10.0.2.3\n"
        assert "10.0.2.15/24" in machine.ssh("ip -4 -o addr show dev eth0")
        assert machine.ssh("ip route | head -1").startswith("default via 10.0.2.2")
        assert "TINY-READY host=web-1 seed=sr0 eth0=10.0.2.15/24" in machine.console
        assert machine.agent("guest-get-host-name") == {"host-name": "web-1"}
        started = machine.ssh("cat /proc/sys/kernel/random/boot_id")
        machine.ssh("reboot")
        assert emulator.wait_for(lambda: machine.console.count("TINY-READY") == 2, 60), machine.console[-2000:]
        machine.wait_for_login(30)
        assert machine.ssh("cat /proc/sys/kernel/random/boot_id") != started
        assert machine.ssh("cat /root/runs") == "run\n"
        shut_down(machine, 30)


def test_tiny_boots_on_old_hardware_with_dhcp(guest_image: Callable[[str], Path], tmp_path: Path) -> None:
    files = seed(tmp_path, 2, None, assignment="dhcp")
    hardware = Hardware(machine="pc", nic="e1000", seed_bus="ide")
    with emulator.booted(tmp_path, guest_image("tiny"), files, "root", hardware) as machine:
        machine.wait_for_login(60)
        assert "10.0.2.15/24" in machine.ssh("ip -4 -o addr show dev eth0")
        shut_down(machine, 30)


def test_debian_runs_cloud_init_to_its_end(guest_image: Callable[[str], Path], tmp_path: Path) -> None:
    files = seed(tmp_path, None, None)
    hardware = Hardware(cpu="max", memory_mib=1024, vcpus=2)
    with emulator.booted(tmp_path, guest_image("debian-12"), files, "debian", hardware) as machine:
        machine.wait_for_login(300)
        assert machine.ssh("hostname") == "web-1\n"
        assert "status: done" in machine.ssh("cloud-init status --wait")
        assert "10.0.2.15/24" in machine.ssh("ip -4 -o addr")
        shut_down(machine, 90)


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = requirements.Requirements({"no-such-program": "its-package", "sh": "dash"}, {}, root=False)
    assert requirements.missing(needs) == "missing no-such-program: apt-get install its-package"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in str(requirements.missing(requirements.LAB))
