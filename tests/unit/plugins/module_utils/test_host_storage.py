# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and disks of a host, on real files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import host_storage

QEMU_IMG = shutil.which("qemu-img")


def test_a_folder_is_measured_and_nothing_stays_in_it(tmp_path: Path) -> None:
    found = host_storage.storage(str(tmp_path))
    total = shutil.disk_usage(tmp_path).total // host_storage.MIB
    assert found["instances_path"] == str(tmp_path)
    assert found["disk_total_mib"] == total and 0 < found["disk_free_mib"] <= total
    assert found["writable"] is True and found["reflink"] in (True, False)
    expected = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], check=True, capture_output=True, text=True).stdout
    assert expected.startswith(found["filesystem"][:3])  # stat says ext2/ext3 of ext4
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told_as_such(tmp_path: Path) -> None:
    found = host_storage.storage(str(tmp_path / "missing"))
    assert found.pop("instances_path") == str(tmp_path / "missing")
    assert found.pop("writable") is False
    assert set(found.values()) == {None}
    images = host_storage.images(str(tmp_path / "missing"))
    assert images == {"path": str(tmp_path / "missing"), "writable": False, "disk_free_mib": None}


@pytest.mark.skipif(QEMU_IMG is None, reason="needs qemu-img")
@pytest.mark.parametrize(("disk_format", "size"), [("qcow2", "4G"), ("raw", "3M"), ("raw", "1500K")])
def test_capacity_is_what_qemu_img_made(tmp_path: Path, disk_format: str, size: str) -> None:
    disk = tmp_path / "disk"
    subprocess.run([str(QEMU_IMG), "create", "-q", "-f", disk_format, disk, size], check=True)
    expected = {"4G": 4096, "3M": 3, "1500K": 2}[size]
    assert host_storage.disk_capacity_mib(str(disk), disk_format) == expected


def test_a_guest_cannot_change_its_disks_size_by_writing_a_header(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes((b"QFI\xfb" + b"\0" * 20 + (1 << 50).to_bytes(8, "big")).ljust(2 * host_storage.MIB, b"\0"))
    assert host_storage.disk_capacity_mib(str(disk), "raw") == 2


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "disk_format"),
    [
        pytest.param(lambda path: path.write_bytes(b"QFI\xfb"), "qcow2", id="cut-off"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 64), "qcow2", id="not-qcow2"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 64), "vmdk", id="unknown-format"),
        pytest.param(fifo, "raw", id="pipe"),
        pytest.param(Path.mkdir, "raw", id="folder"),
        pytest.param(lambda path: None, "raw", id="missing"),
    ],
)
def test_what_cannot_be_told_is_none(tmp_path: Path, make: object, disk_format: str) -> None:
    make(tmp_path / "disk")  # type: ignore[operator]
    assert host_storage.disk_capacity_mib(str(tmp_path / "disk"), disk_format) is None
