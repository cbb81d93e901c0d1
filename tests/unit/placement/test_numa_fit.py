# SPDX-License-Identifier: GPL-3.0-or-later
"""Where NUMA cells, pinned CPUs, pages and devices go, and that bookings hold them."""

from dataclasses import replace

import pytest

from berth.placement import GuestOnHost, GuestRequest, Host, Options, Pins, Profile, build_fleet, place
from berth.placement.devices import NumaCell, PagePool, PciDevice, parse_cpus
from berth.placement.pci import PciAlias
from berth.placement.view import View
from berth.units import format_cpus

PAIRS = tuple(frozenset((n, n + 1)) for n in range(0, 8, 2))
CELLS = (
    NumaCell(0, 8192, frozenset(), frozenset(range(8)), PAIRS, (PagePool(4, 1048576), PagePool(2048, 1024)), 0),
    NumaCell(
        1,
        8192,
        frozenset(),
        frozenset(range(8, 16)),
        tuple(frozenset((n + 8, n + 9)) for n in range(0, 8, 2)),
        (PagePool(4, 1048576), PagePool(2048, 1024)),
        1,
    ),
)
GPUS = tuple(PciDevice(f"0000:0{n}:00.0", "10de", "1eb8", node) for n, node in enumerate((1, 1, 0, None)))
HOST = Host(
    "h", facts_at=0.0, vcpus_total=16, memory_mib_total=17000, disk_mib_total=9999, numa_cells=CELLS, pci_devices=GPUS
)
PROFILE = Profile(options=Options(pci_aliases={"gpu": PciAlias("gpu", "10de", "1eb8")}))


def pins(vcpus=2, memory_mib=1024, host=HOST, **specs):
    specs = {key.replace("__", ":"): value for key, value in specs.items()}
    request = GuestRequest(uuid="u", name="u", vcpus=vcpus, memory_mib=memory_mib, extra_specs=specs)
    decision = place(build_fleet([host]), [request], PROFILE, now_s=0.0)
    return decision.placements[0].pins if decision.ok else decision.failure.report.refused[0].text


def test_a_plain_guest_has_no_pins():
    assert pins() == Pins()


def test_dedicated_cpus_take_whole_cores():
    (cell,) = pins(hw__cpu_policy="dedicated").cells
    assert cell.cpus == {0: 0, 1: 1} and cell.guest_cpus == (0, 1) and cell.host_cell == 0 and cell.memory_mib == 1024


def test_two_cells_lie_on_two():
    first, second = pins(4, 2048, hw__cpu_policy="dedicated", hw__numa_nodes="2").cells
    assert (first.host_cell, second.host_cell) == (0, 1)
    assert first.cpus == {0: 0, 1: 1} and second.cpus == {2: 8, 3: 9} and second.memory_mib == 1024


def test_isolated_guests_block_the_siblings():
    both = tuple(replace(cell, shared_cpus=cell.dedicated_cpus) for cell in CELLS)
    host = replace(HOST, numa_cells=both)
    (cell,) = pins(2, host=host, hw__cpu_policy="dedicated", hw__cpu_thread_policy="isolate").cells
    assert cell.cpus == {0: 0, 1: 2} and set(cell.blocked) == {1, 3}


def test_isolate_needs_whole_cores_for_both_uses():
    assert "thread policy isolate" in pins(hw__cpu_policy="dedicated", hw__cpu_thread_policy="isolate")


def test_the_emulator_has_its_own_cpu():
    found = pins(2, hw__cpu_policy="dedicated", hw__emulator_threads_policy="isolate")
    assert found.cells[0].cpus == {0: 0, 1: 1} and found.emulator_cpus == (2,)


def test_mixed_pins_some():
    host = replace(
        HOST, numa_cells=tuple(replace(c, shared_cpus=frozenset((30 + c.id,) * 1), siblings=()) for c in CELLS)
    )
    (cell,) = pins(2, host=host, hw__cpu_policy="mixed", hw__cpu_dedicated_mask="1").cells
    assert cell.cpus == {1: 0} and cell.cpuset == (30,)


def test_pages_of_a_size():
    (cell,) = pins(2, 2048, hw__cpu_policy="dedicated", hw__mem_page_size="large").cells
    assert cell.page_size_kib == 2048
    assert "have 2048" in pins(2, 2050, hw__cpu_policy="dedicated", hw__mem_page_size="2MiB")


def test_devices_come_near_the_cells():
    found = pins(2, hw__cpu_policy="dedicated", pci_passthrough__alias="gpu:2")
    assert found.cells[0].host_cell == 1 and found.pci_addresses == ("0000:00:00.0", "0000:01:00.0")
    far = {"hw:cpu_policy": "dedicated", "pci_passthrough:alias": "gpu:3"}
    assert isinstance(pins(2, **{**far, "hw:pci_numa_affinity_policy": "preferred"}), Pins)
    assert "near enough (required)" in pins(2, **{**far, "hw:pci_numa_affinity_policy": "required"})
    assert pins(2, **{**far, "hw:pci_numa_affinity_policy": "legacy"}).pci_addresses[-1] == "0000:03:00.0"
    assert "near enough (socket)" in pins(2, **{**far, "hw:pci_numa_affinity_policy": "socket"})


def test_devices_without_a_topology():
    assert pins(pci_passthrough__alias="gpu:4").pci_addresses == tuple(device.address for device in GPUS)
    assert pins(pci_passthrough__alias="gpu:5") == "PCI gpu: need 5, have 4"


def test_a_batch_never_gives_the_same_cpu_page_or_device_twice():
    specs = {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2048", "pci_passthrough:alias": "gpu:1"}
    wanted = [GuestRequest(uuid=f"u{n}", name=f"u{n}", vcpus=3, memory_mib=512, extra_specs=specs) for n in range(3)]
    decision = place(build_fleet([HOST]), wanted, PROFILE, now_s=0.0)
    taken = [cpu for p in decision.placements for cell in p.pins.cells for cpu in cell.cpus.values()]
    devices = [address for p in decision.placements for address in p.pins.pci_addresses]
    assert len(taken) == len(set(taken)) == 9 and len(devices) == len(set(devices)) == 3
    more = place(build_fleet([HOST]), [replace(w, vcpus=6) for w in wanted], PROFILE, now_s=0.0)
    assert more.failed_index == 2
    assert "need 6 dedicated CPUs, have 2 of 8" in more.failure.report.refused[0].text


def test_pins_of_running_guests_are_held_and_survive_json():
    found = pins(6, hw__cpu_policy="dedicated")
    assert Pins.from_dict(found.to_dict()) == found
    host = replace(HOST, guests=(GuestOnHost("old", pins=found),))
    (cell,) = pins(6, host=host, hw__cpu_policy="dedicated").cells
    assert cell.host_cell == 1
    assert View(build_fleet([host]), 0.0).guests(0)[0].pins == found


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,^2,8", {0, 1, 3, 8}), ("", set()), (" 1 , 2 ", {1, 2}), ("5-5", {5}), ("0,^0", set())]
)
def test_lists_of_cpus(text, cpus):
    assert parse_cpus(text) == cpus
    assert parse_cpus(format_cpus(cpus)) == cpus


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-4", "1;2", "0-999999999"])
def test_bad_lists_of_cpus(text):
    with pytest.raises(ValueError, match="no list of CPUs"):
        parse_cpus(text)
