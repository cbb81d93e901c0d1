# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user gets wrong and what hosts do wrong: each with its message, and nothing left behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cloud import Inventory, LabCloud

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")


def lines(error: dict[str, Any]) -> str:
    """All that a user reads of an error."""
    return "\n".join([error["message"], *error["details"], f"hint: {error['hint']}"])


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(cloud: LabCloud) -> Iterator[Inventory]:
    """Whatever goes wrong in this file, hosts, ledger and this machine are afterwards as they were before."""
    with cloud.unchanged() as before:
        yield before


@pytest.fixture(scope="module")
def images(cloud: LabCloud) -> Iterator[Path]:
    """Images that nobody should boot, in the catalog under the names of their files."""
    folder = cloud.folder / "images"
    base, foreign = folder / "base.raw", folder / "foreign.raw"
    base.write_bytes(b"root:x:0:0" + bytes(1024 * 1024))
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", folder / "backed.qcow2")
    options = f"data_file={foreign},data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, folder / "outside.qcow2", "1M")
    qemu_img("create", "-q", "-f", "qcow2", folder / "other.qcow2", "3G")
    for name in ("backed", "outside", "other"):
        cloud.add("images", {"name": name, "source": f"images/{name}.qcow2", "format": "qcow2"})
    digest = {"digest": f"sha256:{'0' * 64}"}
    cloud.add("images", {"name": "forged", "source": "images/idle.qcow2", "format": "qcow2", **digest})
    yield folder
    cloud.remove("images", "backed", "outside", "other", "forged")
    for path in (base, foreign, *(folder / f"{name}.qcow2" for name in ("backed", "outside", "other"))):
        path.unlink()


def test_all_unknown_names_are_reported_at_once(cloud: LabCloud) -> None:
    words = ("--flavor", "m1.tinny", "--image", "tinyy", "--network", "lam", "--key-name", "mee")
    error = cloud.refused("boot", "wrong", *words, status=3)
    assert error["error"] == "NotFound" and len(error["details"]) == 4
    for line, found, meant in zip(
        error["details"], ("m1.tinny", "tinyy", "lam", "mee"), ("m1.tiny", "tiny", "lan", "me"), strict=True
    ):
        assert f"'{found}'" in line and f"did you mean {meant}?" in line
    assert error["hint"]
    text = cloud.berth("boot", "wrong", *words, status=3).err
    assert "\nerror: " in f"\n{text}" and "\nhint: " in text


@pytest.mark.parametrize("name", ["../../etc/x", "<b>", 'a"b', "a\nb"])
def test_a_name_that_is_no_host_name_is_refused(cloud: LabCloud, name: str) -> None:
    error = cloud.berth("boot", *IDLE, "--format", "json", "--", name, status=2).error
    assert error["error"] == "InvalidInput"
    assert repr(name) in error["message"] and "letters, digits" in error["message"] and error["hint"]


def test_the_same_name_twice(cloud: LabCloud) -> None:
    (first,) = cloud.json("boot", "twin", *IDLE)
    (again,) = cloud.json("boot", "twin", *IDLE)
    assert again == first and first["state"] == "active"
    error = cloud.refused("boot", "twin", *IDLE, "--meta", "other=request", status=4)
    assert error["error"] == "Conflict" and "berth delete" in error["hint"]
    assert "guest twin is there already" in error["message"] and first["uuid"] in error["message"]
    assert f"host {first['host']}" in error["message"]
    assert cloud.guests()["twin"] == first
    cloud.berth("delete", "--yes", "twin")


def test_an_image_that_cannot_be_used_fails_the_boot(cloud: LabCloud, images: Path) -> None:
    """The guest is left in state error, on no host: no other host could help."""
    cases = {"forged": f"sha256:{'0' * 64}", "backed": "backing file", "outside": "data file", "other": "3.00 GiB"}
    words = ("--flavor", "m1.tiny", "--network", "lan")
    for image, said in cases.items():
        error = cloud.refused("boot", f"bad-{image}", "--image", image, *words, status=6)
        assert error["error"] == "HostFailed" and said in lines(error) and f"guest bad-{image}" in lines(error)
        assert f"berth delete bad-{image}" in error["hint"]
        guest = cloud.guests()[f"bad-{image}"]
        assert (guest["state"], guest["host"]) == ("error", None) and said in guest["fault"]
    again = cloud.refused("boot", "bad-backed", "--image", "backed", *words, status=4)
    assert "it failed" in again["message"] and "backing file" in again["message"]
    cloud.berth("delete", "--yes", *(f"bad-{image}" for image in cases))
    for host in cloud.lab.hosts:  # the last one is sound, and stays in the caches
        host.exec("cd /var/lib/berth/images && for f in sha256-*.qcow2; do"
                  " qemu-img info $f | grep -q 'virtual size: 3 GiB' && rm $f; done; true")  # fmt: skip


def test_a_bad_image_leaves_the_others_pulled(cloud: LabCloud, images: Path) -> None:
    error = cloud.refused("image", "pull", "idle", "backed", "outside", "forged", status=6)
    text = lines(error)
    for host in ("h1", "h2", "h3"):
        assert all(f"{host}" in text and word in text for word in ("backing file", "data file", "forged"))
    rows = {(row["host"], row["name"]): row["ok"] for row in error["data"]["images"]}
    assert [rows[host, "idle"] for host in ("h1", "h2", "h3")] == [True] * 3
    assert [rows["h1", name] for name in ("backed", "outside", "forged")] == [False] * 3


def test_a_flavor_below_the_images_minimum_is_refused_before_any_work(cloud: LabCloud) -> None:
    cloud.add("images", {"name": "big", "source": "images/idle.qcow2", "format": "qcow2", "min_disk_gib": 5})
    try:
        error = cloud.refused("boot", "small", "--flavor", "m1.tiny", "--image", "big", "--network", "lan", status=2)
    finally:
        cloud.remove("images", "big")
    assert "m1.tiny" in error["message"] and "big" in error["message"] and "5" in error["message"]
    assert "small" not in cloud.guests()


def test_no_host_fits_and_each_says_why(cloud: LabCloud) -> None:
    cloud.berth("host", "disable", "h3", "--reason", "new fans")
    try:
        words = ("--flavor", "m1.huge", "--image", "idle", "--network", "lan")
        error = cloud.refused("boot", "huge", *words, status=5)
    finally:
        cloud.berth("host", "enable", "h3")
    assert error["error"] == "NoValidHost"
    told = {host: next(line for line in error["details"] if line.startswith(f"{host}: ")) for host in ("h1", "h2")}
    assert all("64" in line and "vCPU" in line for line in told.values()), told
    assert "new fans" in next(line for line in error["details"] if line.startswith("h3: "))
    refused = {each["host"]: each["reasons"][0] for each in error["data"]["report"]["refused"]}
    assert (refused["h1"]["code"], refused["h1"]["need"]) == ("vcpus", 64) and refused["h1"]["have"] < 64
    assert refused["h3"]["code"] == "disabled"
    assert "huge" not in cloud.guests()


def test_a_disabled_host_gets_no_guests(cloud: LabCloud) -> None:
    cloud.berth("host", "disable", "h1", "--reason", "old")
    try:
        placed = cloud.json("place", "some", "--count", "4", *IDLE)["placements"]
        error = cloud.refused("boot", "some", *IDLE, "--host", "h1", status=5)
    finally:
        cloud.berth("host", "enable", "h1")
    assert "h1" not in {one["host"] for one in placed} and len(placed) == 4
    assert "disabled: old" in lines(error)
    assert cloud.json("place", "some", *IDLE, "--host", "h1")["placements"][0]["host"] == "h1"


def test_a_host_without_power_leaves_the_others_serving(cloud: LabCloud) -> None:
    spread = ("--count", "3", "--group", "spare", "--policy", "soft-anti-affinity")
    # A connection to each host is open now; one to a host that lost its power must not hold the run.
    cloud.berth("host", "refresh")
    assert {one["host"] for one in cloud.json("place", "spare", *IDLE, *spread)["placements"]} == {"h1", "h2", "h3"}
    cloud.lab.host("h2").power_cut()
    begin = time.monotonic()
    try:
        booted = cloud.json("boot", "spare", *IDLE, *spread)
        took_s = time.monotonic() - begin
        refreshed = cloud.refused("host", "refresh", status=7)
        error = cloud.refused("boot", "there", *IDLE, "--host", "h2", status=5)
    finally:
        cloud.lab.power_on("h2")
    assert {guest["state"] for guest in booted} == {"active"}
    assert {guest["host"] for guest in booted} == {"h1", "h3"}
    assert took_s < 90
    assert "h2: " in lines(refreshed) and "unreachable" in lines(error)
    cloud.berth("host", "refresh")
    assert {host["name"]: host["state"] for host in cloud.json("host", "list")} == dict.fromkeys(
        ("h1", "h2", "h3"), "enabled"
    )
    cloud.berth("delete", "--yes", *(guest["name"] for guest in booted))


def test_a_host_without_power_keeps_its_guests_until_it_is_back(cloud: LabCloud) -> None:
    cloud.berth("boot", "kept", *IDLE, "--host", "h3")
    cloud.lab.host("h3").power_cut()
    try:
        error = cloud.refused("delete", "--yes", "kept", status=6)
        assert "h3" in lines(error) and "guest kept" in lines(error) and error["hint"]
        stop = cloud.refused("stop", "kept", status=6)
        assert "unreachable" in lines(stop)
        assert cloud.guests()["kept"]["state"] == "active"
    finally:
        cloud.lab.power_on("h3")
    cloud.berth("delete", "--yes", "kept")
    assert "kept" not in cloud.guests()


def test_deleting_what_is_not_there(cloud: LabCloud) -> None:
    cloud.berth("boot", "gone", *IDLE, "--host", "h2")
    error = cloud.refused("delete", "--yes", "gome", "nobody", status=3)
    assert len(error["details"]) == 2 and "did you mean gone?" in lines(error) and "berth list" in error["hint"]
    unconfirmed = cloud.refused("delete", "gone", status=2)
    assert "--yes" in unconfirmed["hint"]
    cloud.lab.host("h2").exec("virsh -q destroy gone && virsh -q undefine --nvram gone")
    cloud.berth("delete", "--yes", "gone")
    assert "gone" not in cloud.guests()


def test_a_guest_that_ignores_the_power_button(cloud: LabCloud) -> None:
    cloud.berth("boot", "deaf", *IDLE, "--host", "h1")
    error = cloud.refused("stop", "deaf", "--timeout", "3", status=6)
    assert "guest deaf" in lines(error) and "3 s" in lines(error) and "--hard" in lines(error)
    guest = cloud.guests()["deaf"]
    assert (guest["state"], guest["power"], guest["task"]) == ("active", "running", None)
    (stopped,) = cloud.json("stop", "deaf", "--timeout", "3", "--hard")
    assert (stopped["state"], stopped["power"], stopped["fault"]) == ("stopped", "shutdown", None)
    error = cloud.refused("reboot", "deaf", status=4)
    assert "deaf" in error["message"] and "stopped" in error["message"] and "berth start deaf" in error["hint"]
    cloud.berth("delete", "--yes", "deaf")
