# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that boots again, and a libvirtd that restarts while guests are made."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.cloud import BIN, Inventory, LabCloud
from lab.host import Host
from lab.shell import wait_for

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(cloud: LabCloud) -> Iterator[Inventory]:
    """After these faults hosts, ledger and this machine are as they were before."""
    with cloud.unchanged() as before:
        yield before


def states(host: Host) -> dict[str, str]:
    """Domain to state, as libvirt has them."""
    found = host.exec("virsh -q list --all").stdout
    return {line.split()[1]: " ".join(line.split()[2:]) for line in found.splitlines() if line.strip()}


def seen(cloud: LabCloud) -> dict[str, tuple[str, str]]:
    """Guest to state and power, as the ledger has them."""
    return {name: (guest["state"], guest["power"]) for name, guest in cloud.guests().items()}


def twin_of(cloud: LabCloud, name: str) -> str:
    """A domain with a guest's UUID and nothing else of it."""
    return (
        f"<domain type='qemu'><name>twin</name><uuid>{cloud.guest(name)['uuid']}</uuid><memory unit='MiB'>64</memory>"
        "<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )


def test_guests_after_their_host_booted(cloud: LabCloud) -> None:
    cloud.berth("boot", "lies", *IDLE, "--host", "h1")
    cloud.berth("boot", "rises", *IDLE, "--host", "h1", "--on-host-boot", "start")
    cloud.berth("boot", "rests", *IDLE, "--host", "h1")
    cloud.berth("stop", "rests", "--hard", "--timeout", "1")
    assert cloud.guest("rises")["on_host_boot"] == "start" and cloud.guest("lies")["on_host_boot"] == "leave"
    host = cloud.lab.host("h1")
    host.exec("sync")
    host.power_cut()
    cloud.lab.power_on("h1")

    # libvirtd comes with the host and starts what asked for it, and nothing else.
    assert wait_for(lambda: states(host).get("rises") == "running", 60, 1), states(host)
    assert states(host) == {"lies": "shut off", "rises": "running", "rests": "shut off"}
    cloud.berth("host", "refresh")
    off = {"lies": ("active", "shutdown"), "rises": ("active", "running"), "rests": ("stopped", "shutdown")}
    assert seen(cloud) == off
    cloud.berth("host", "refresh")
    assert seen(cloud) == off

    other = cloud.lab.host("h2")
    other.exec(f'echo "{twin_of(cloud, "lies")}" >/run/twin.xml && virsh -q create /run/twin.xml')
    cloud.lab.host("h3").power_cut()
    try:
        error = cloud.refused("host", "start-guests", "h1", status=6)
    finally:
        cloud.lab.power_on("h3")
        other.exec("virsh -q destroy twin; rm /run/twin.xml")
    assert "guest lies is running on host h2" in error["details"]
    assert any("do not answer" in line and line.endswith(": h3") for line in error["details"])
    assert "--accept-silent-hosts" in error["hint"] and states(host)["lies"] == "shut off"

    (started,) = cloud.json("host", "start-guests", "h1")
    assert (started["name"], started["state"], started["power"]) == ("lies", "active", "running")
    assert states(host) == {"lies": "running", "rises": "running", "rests": "shut off"}
    assert seen(cloud) == {**off, "lies": ("active", "running")}
    assert cloud.json("host", "start-guests", "h1") == []
    cloud.berth("delete", "--yes", "lies", "rises", "rests")


def test_start_and_stop_believe_the_host_and_not_the_ledger(cloud: LabCloud) -> None:
    cloud.berth("boot", "moody", *IDLE, "--host", "h2")
    host = cloud.lab.host("h2")
    host.exec("virsh -q destroy moody")
    assert seen(cloud)["moody"] == ("active", "running")  # nobody has looked yet
    cloud.berth("start", "moody")
    assert states(host)["moody"] == "running"
    host.exec("virsh -q destroy moody")
    cloud.berth("host", "refresh", "h2")
    assert seen(cloud)["moody"] == ("stopped", "shutdown")
    host.exec("virsh -q start moody")
    cloud.berth("stop", "moody", "--hard", "--timeout", "1")
    assert states(host)["moody"] == "shut off"
    cloud.berth("delete", "--yes", "moody")


def test_libvirtd_restarts_while_guests_are_made(cloud: LabCloud) -> None:
    host = cloud.lab.host("h1")
    words = ["boot", "many", "--count", "4", *IDLE, "--host", "h1", "--format", "json"]
    with cloud.start([str(BIN / "berth"), *words]) as process:
        # The first domain is there: the others are being made.
        begun = wait_for(lambda: bool(states(host)) or process.poll() is not None, 120, 0.2)
        was_running = process.poll() is None
        host.exec("systemctl restart libvirtd.service")
        out, err = process.communicate(timeout=300)
    assert begun and was_running
    assert process.returncode == 0, out + err
    names = [f"many-{i}" for i in (1, 2, 3, 4)]
    assert states(host) == dict.fromkeys(names, "running")
    assert seen(cloud) == dict.fromkeys(names, ("active", "running"))
    begin = time.monotonic()
    cloud.berth("delete", "--yes", *names)
    assert time.monotonic() - begin < 120 and states(host) == {}
