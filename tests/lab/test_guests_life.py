# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of guests on three real hosts: booted, reached, stopped, started, deleted with nothing left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cloud import Inventory, LabCloud
from lab.shell import wait_for

pytestmark = pytest.mark.lab

HOSTS = ("h1", "h2", "h3")
TINY_DATA = "#!/bin/sh\necho $(hostname) >/root/told\n"
DEBIAN_DATA = "#cloud-config\nruncmd:\n  - [sh, -c, 'hostname >/var/told']\n"
LIST_KEYS = {
    "name", "project", "uuid", "state", "task", "power", "host", "flavor", "image", "addresses", "fault", "stale",
}  # fmt: skip


@dataclass
class Guests:
    """The guests of this file, and what there was before them."""

    cloud: LabCloud
    before: Inventory

    def boot(self, name: str, flavor: str, image: str, user_data: str, *options: str) -> None:
        file = self.cloud.scratch / "user-data"
        file.write_text(user_data)
        self.cloud.berth(
            "boot", name, "--flavor", flavor, "--image", image, "--network", "lan", "--key-name", "me",
            "--user-data", str(file), *options, timeout_s=900,
        )  # fmt: skip
        file.unlink()


@pytest.fixture(scope="module")
def guests(cloud: LabCloud, guest_image: Callable[[str], Path]) -> Iterator[Guests]:
    """One tiny guest on each host and a Debian on one of them, with a login to all."""
    path = cloud.folder / "images" / "debian-12.qcow2"
    path.unlink(missing_ok=True)
    path.symlink_to(guest_image("debian-12"))
    cloud.add("images", {"name": "debian-12", "source": "images/debian-12.qcow2", "format": "qcow2"})
    cloud.berth("image", "pull", "tiny", "debian-12")
    guests = Guests(cloud, cloud.inventory())
    guests.boot("deb", "m1.debian", "debian-12", DEBIAN_DATA, "--meta", "role=db")
    spread = ("--count", "3", "--group", "spread", "--policy", "anti-affinity", "--meta", "role=web")
    wait = ("--wait-login", "--identity", str(cloud.identity), "--timeout", "300")
    guests.boot("web", "m1.tiny", "tiny", TINY_DATA, *spread, *wait)
    cloud.wait("deb")
    yield guests
    cloud.delete_all()


def test_they_are_spread_over_the_hosts(guests: Guests) -> None:
    found = guests.cloud.guests()
    assert sorted(found[f"web-{i}"]["host"] for i in (1, 2, 3)) == list(HOSTS)
    for name, guest in found.items():
        assert (guest["state"], guest["power"], guest["task"], guest["fault"]) == ("active", "running", None, None)
        assert (
            f"{name} running"
            in guests.cloud.lab.host(guest["host"])
            .exec("virsh -q list --all | awk '{print $2, $3}'")
            .stdout.splitlines()
        )


def test_list_and_show_keep_their_shape(guests: Guests) -> None:
    found = {guest["name"]: guest for guest in guests.cloud.json("list")}
    assert set(found) == {"deb", "web-1", "web-2", "web-3"}
    assert all(set(guest) == LIST_KEYS for guest in found.values())
    shown = guests.cloud.json("show", "web-1")
    assert {key: shown[key] for key in LIST_KEYS} == found["web-1"]
    (interface,) = shown["networks"]
    assert interface["address"] == shown["addresses"][0] and interface["address"].startswith("192.168.150.")
    assert shown["metadata"] == {"role": "web"} and shown["server_group"] == "spread"
    assert (shown["vcpus"], shown["memory_mib"], shown["disk_mib"]) == (1, 256, 1024)
    assert shown["ssh_host_key"].startswith("ssh-ed25519 ") and shown["image_digest"].startswith("sha256:")


@pytest.mark.parametrize("name", ["web-1", "web-2", "web-3", "deb"])
def test_a_guest_is_what_was_asked_for(guests: Guests, name: str) -> None:
    address = guests.cloud.guest(name)["addresses"][0]
    told = "/var/told" if name == "deb" else "/root/told"
    if name == "deb":
        # After the first login cloud-init starts sshd once more, which for a moment takes no connection.
        assert wait_for(lambda: "status: done" in guests.cloud.ssh(name, "cloud-init status --wait", status=None), 120)
    said = guests.cloud.ssh(name, f"hostname; cat {told}; ip -4 -o addr; ip route").splitlines()
    assert said[:2] == [name, name]
    assert any(f" {address}/24 " in line for line in said)
    assert any(line.startswith("default via 192.168.150.1 ") for line in said)


def test_the_disk_has_the_flavors_size_and_the_file_system_grew(guests: Guests) -> None:
    assert guests.cloud.ssh("web-1", "cat /sys/block/vda/size").strip() == str(1024**3 // 512)
    assert guests.cloud.ssh("deb", "cat /sys/block/vda/size").strip() == str(4 * 1024**3 // 512)
    size_mib = int(guests.cloud.ssh("deb", "df -m --output=size / | tail -n 1"))
    assert 3500 < size_mib < 4096


def test_the_inventory_plugin_reaches_them(guests: Guests) -> None:
    key = ("--private-key", str(guests.cloud.identity))
    ansible = ("ansible", "-i", "guests.berth.yml")
    raw = guests.cloud.run([*ansible, "meta_role_web", "-m", "ansible.builtin.raw", "-a", "hostname", *key]).out
    assert raw.count("| CHANGED | rc=0") == 3 and {"web-1", "web-2", "web-3"} <= set(raw.split())
    ping = guests.cloud.run([*ansible, "deb", "-m", "ansible.builtin.ping", *key]).out
    assert "deb | SUCCESS" in ping


def test_the_console_log_is_read_from_the_host(guests: Guests) -> None:
    log = guests.cloud.berth("log", "web-3", "--lines", "1000").out
    assert "TINY-READY host=web-3" in log
    assert "TINY-READY" not in guests.cloud.berth("log", "web-3", "--lines", "1").out


def test_stop_start_and_reboot(guests: Guests) -> None:
    cloud, boot_id = guests.cloud, "cat /proc/sys/kernel/random/boot_id"
    started = cloud.ssh("web-1", boot_id)
    (stopped,) = cloud.json("stop", "web-1")
    assert (stopped["state"], stopped["power"]) == ("stopped", "shutdown")
    assert cloud.host_of("web-1").exec("virsh domstate web-1").stdout.strip() == "shut off"
    assert cloud.guests()["web-1"]["state"] == "stopped"
    cloud.json("stop", "web-1")  # again is no error
    (again,) = cloud.json("start", "web-1")
    assert (again["state"], again["power"]) == ("active", "running")
    (rebooted,) = cloud.json("reboot", "web-2")
    assert (rebooted["state"], rebooted["power"]) == ("active", "running")
    (cut,) = cloud.json("reboot", "--hard", "deb")
    assert (cut["state"], cut["power"]) == ("active", "running")
    cloud.wait("web-1", "web-2")
    assert cloud.ssh("web-1", boot_id) != started
    assert cloud.ssh("web-2", "cat /root/told") == "web-2\n"  # what it wrote before


def test_deletion_leaves_nothing(guests: Guests) -> None:
    names = ["deb", "web-1", "web-2", "web-3"]
    deleted = guests.cloud.json("delete", "--yes", *names)
    assert [(guest["name"], guest["state"]) for guest in deleted] == [(name, "deleted") for name in names]
    assert guests.cloud.json("list") == []
    assert guests.before.lines(guests.cloud.inventory()) == []
    assert guests.cloud.refused("show", "web-1", status=3)["error"] == "NotFound"
