# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.host_domains import STATES, described

DOMAIN = """<domain type='qemu' xmlns:berth='urn:berth:guest:1'>
  <metadata>{record}</metadata>
  <memory unit='{unit}'>{memory}</memory><currentMemory unit='KiB'>1</currentMemory>
  <vcpu current='1'>4</vcpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda'/></disk>
    <disk type='network'><driver name='qemu' type='raw'/><source protocol='rbd'/><target dev='vdb'/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:02'/></interface>
  </devices>
</domain>"""


def domain(disk: Path | str = "/missing", *, unit: str = "KiB", memory: int = 1024, record: str = "") -> dict[str, Any]:
    return described(DOMAIN.format(disk=disk, unit=unit, memory=memory, record=record))


def test_resources_are_the_most_it_may_grow_to(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\0" * 2 * 1024 * 1024)
    found = domain(disk)
    assert found["vcpus"] == 4 and found["memory_mib"] == 1
    assert found["disks"] == [
        {"target": "vda", "path": str(disk), "format": "raw", "capacity_mib": 2},
        {"target": "vdb", "path": None, "format": "raw", "capacity_mib": None},
    ]
    assert found["macs"] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]


@pytest.mark.parametrize(
    ("unit", "memory", "mib"),
    [("KiB", 1025, 2), ("k", 2048, 2), ("MiB", 3, 3), ("GiB", 1, 1024), ("GB", 1, 954), ("b", 1, 1), ("TiB", 1, 2**20)],
)
def test_memory_in_every_unit_is_rounded_up(unit: str, memory: int, mib: int) -> None:
    assert domain(unit=unit, memory=memory)["memory_mib"] == mib


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("", None),
        ('<berth:guest uuid=\'x\'>{"version": 1, "name": "a&lt;b"}</berth:guest>', {"version": 1, "name": "a<b"}),
        ("<berth:guest>not JSON</berth:guest>", None),
        ("<berth:guest>[1]</berth:guest>", None),
        ("<berth:guest/>", None),
        ("<other:guest xmlns:other='urn:other'>{}</other:guest>", None),
    ],
)
def test_the_record_is_ours_or_nothing(record: str, expected: dict[str, Any] | None) -> None:
    assert domain(record=record)["record"] == expected


def test_states_are_the_words_of_the_ledger() -> None:
    from berth.ledger.model import PowerState

    assert set(STATES.values()) == set(PowerState)
