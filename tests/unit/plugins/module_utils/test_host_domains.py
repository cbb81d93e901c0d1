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


PINNED = """<domain xmlns:berth='urn:berth:guest:1'><metadata>{record}</metadata>
  <vcpu>2</vcpu><cputune><vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='{second}'/></cputune>
  <devices>
    <hostdev mode='subsystem' type='pci'>
      <source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/></source>
      <address type='pci' domain='0' bus='9' slot='9' function='0'/></hostdev>
    <hostdev mode='subsystem' type='usb'><source><address bus='1' device='3'/></source></hostdev>
    <interface type='hostdev'>
      <source><address type='pci' domain='0' bus='59' slot='16' function='2'/></source></interface>
    <interface type='network'><source network='lan'/>
      <address type='pci' domain='0' bus='1' slot='0' function='0'/></interface>
  </devices></domain>"""
CELLS = '"cells": [{"cpus": {"0": 4}, "blocked": [12]}], "emulator_cpus": [6]'


@pytest.mark.parametrize(
    ("record", "second", "cpus"),
    [
        ("", "5", [4, 5]),
        ("", "0-3", [4]),
        (f'{{"pins": {{{CELLS}}}}}', "0-3", [4, 6, 12]),
        ('{"pins": null}', "5", []),  # a guest of ours that floats on a single shared CPU
        ('{"pins": {"cells": [7]}}', "5", [4, 5]),
        ('{"pins": {"cells": [{"cpus": {"0": "x"}, "blocked": []}]}}', "5", [4, 5]),
        ('{"pins": {"emulator_cpus": [1e999]}}', "5", [4, 5]),
        ('{"pins": {"cells": [{"cpus": {"0": 4}}, {"blocked": [7]}], "emulator_cpus": [6]}}', "5", [4, 6, 7]),
    ],
)
def test_what_a_domain_has_for_itself_alone(record: str, second: str, cpus: list[int]) -> None:
    element = f"<berth:guest>{record}</berth:guest>" if record else ""
    found = described(PINNED.format(record=element, second=second))
    assert found["pinned_cpus"] == cpus
    assert found["pci_addresses"] == ["0000:3b:00.1", "0000:3b:10.2"]


def test_most_domains_have_nothing_for_themselves() -> None:
    assert (domain()["pci_addresses"], domain()["pinned_cpus"]) == ([], [])


@pytest.mark.parametrize(
    ("vcpu", "cputune", "cpus"),
    [
        ("<vcpu placement='static' cpuset='4'>2</vcpu>", "", [4]),
        ("<vcpu cpuset='4-5'>2</vcpu>", "", []),
        ("<vcpu cpuset='4'>2</vcpu>", "<vcpupin vcpu='0' cpuset='2'/><vcpupin vcpu='1' cpuset='3'/>", [2, 3]),
        ("<vcpu cpuset='4'>2</vcpu>", "<vcpupin vcpu='0' cpuset='2'/>", [2, 4]),
        ("", "", []),
    ],
)
def test_vcpus_without_pins_run_where_all_do(vcpu: str, cputune: str, cpus: list[int]) -> None:
    found = described(f"<domain>{vcpu}<cputune>{cputune}</cputune></domain>")
    assert found["pinned_cpus"] == cpus


def test_an_nvme_disk_is_a_device() -> None:
    source = (
        "<source type='pci' managed='yes' namespace='1'><address domain='0' bus='1' slot='0' function='0'/></source>"
    )
    disk = f"<disk type='nvme' device='disk'><driver name='qemu' type='raw'/>{source}<target dev='vda'/></disk>"
    assert described(f"<domain><devices>{disk}</devices></domain>")["pci_addresses"] == ["0000:01:00.0"]
