# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt says of its host, by its test driver and by a real QEMU driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils import host_libvirt


@pytest.fixture
def driver() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("test:///default")
    # All connections of a process have one and the same test driver, as long as any of them is open.
    for network in connection.listAllNetworks(0):
        if network.name() != "default":
            network.undefine()
    yield connection
    connection.close()


@pytest.fixture
def qemu(libvirt_uri: str) -> Iterator[Any]:
    connection = libvirt.open(libvirt_uri)
    yield connection
    connection.close()


def test_topology_of_the_test_driver(driver: Any) -> None:
    capabilities = host_libvirt.Capabilities(driver)
    cpu = capabilities.cpu(driver)
    assert {key: cpu[key] for key in ("sockets", "cores", "threads", "total")} == {
        "sockets": 2,
        "cores": 8,
        "threads": 1,
        "total": 16,
    }
    cells = capabilities.numa_cells()
    assert [cell["memory_mib"] for cell in cells] == [2048, 4096]
    assert cells[1]["cpus"][0] == {"id": 8, "socket_id": 1, "core_id": 0, "siblings": [8]}
    assert {"size_kib": 2048, "total": 0} in cells[0]["pages"]


def test_what_the_test_driver_cannot_tell_is_none(driver: Any) -> None:
    capabilities = host_libvirt.Capabilities(driver)
    emulator = capabilities.emulator(None)
    assert capabilities.cpu(driver)["model"] is None and capabilities.cpu(driver)["features"] is None
    assert not emulator.kvm_listed and capabilities.machines() == {}
    assert host_libvirt.firmware(driver, emulator, "qemu") == {"bios": True, "efi": None, "secure_boot": None}


NETWORK = "<network><name>{name}</name>{forward}<bridge name='{bridge}'/>{ip}</network>"


def test_pools_and_networks(driver: Any) -> None:
    ip = "<ip address='192.0.2.1' netmask='255.255.255.0'/>"
    for name, forward in (("alone", ""), ("plain", "<forward/>"), ("open", "<forward mode='open'/>")):
        driver.networkDefineXML(NETWORK.format(name=name, forward=forward, bridge=f"br-{name}", ip=ip))
    found = {network["name"]: network for network in host_libvirt.networks(driver) or ()}
    modes = {name: network["forward_mode"] for name, network in found.items()}
    assert modes == {"default": "nat", "alone": "isolated", "plain": "nat", "open": "open"}
    assert found["default"]["active"] and not found["alone"]["active"]
    assert found["alone"]["bridge"] == "br-alone"
    (pool,) = host_libvirt.pools(driver) or ()
    assert pool["name"] == "default-pool" and pool["active"] and pool["capacity_mib"] == 100 * 1024


def test_an_object_that_goes_while_we_look_is_left_out(driver: Any) -> None:
    driver.networkDefineXML(NETWORK.format(name="gone", forward="", bridge="br-gone", ip=""))
    networks = driver.listAllNetworks(0)
    driver.networkLookupByName("gone").undefine()
    assert len(networks) == 2
    assert [each["name"] for each in host_libvirt.each(networks, host_libvirt._network)] == ["default"]


def test_other_errors_are_not_swallowed(driver: Any) -> None:
    with pytest.raises(libvirt.libvirtError):
        host_libvirt.supported(lambda: driver.lookupByName("missing"))


@pytest.mark.parametrize(("text", "cpus"), [("", []), ("3", [3]), ("0-2,7", [0, 1, 2, 7])])
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert host_libvirt.cpu_list(text) == cpus


PCI = """<device><name>pci_0000_3b_00_1</name><driver><name>ixgbe</name></driver><capability type='pci'>
<domain>0</domain><bus>59</bus><slot>0</slot><function>1</function>
<product id='0x10fb'>82599ES</product><vendor id='0x8086'>Intel</vendor>
<iommuGroup number='31'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/></iommuGroup><numa node='1'/>
</capability></device>"""


def test_a_pci_device() -> None:
    assert host_libvirt._pci_device(host_libvirt.parse(PCI)) == {
        "address": "0000:3b:00.1",
        "vendor_id": "8086",
        "product_id": "10fb",
        "numa_node": 1,
        "driver": "ixgbe",
        "iommu_group": 31,
        "kind": "type-PCI",
        "physical_function": None,
    }


PHYSICAL = "<capability type='phys_function'><address domain='0x0' bus='0x3b' slot='0x1f' function='0x7'/></capability>"
# The first address in there is that of a virtual function.
VIRTUAL = (
    "<capability type='virt_functions' maxCount='63'><address domain='0' bus='1' slot='1' function='1'/></capability>"
)
KINDS = {
    "a physical function": (VIRTUAL, ("type-PF", None)),
    "a physical function with none in use": ("<capability type='virt_functions' maxCount='63'/>", ("type-PF", None)),
    "a virtual function": (PHYSICAL, ("type-VF", "0000:3b:1f.7")),
    "a bridge": ("<capability type='pci-bridge'/>", ("type-PCI", None)),
}


@pytest.mark.parametrize(("inner", "expected"), KINDS.values(), ids=KINDS)
def test_the_kind_of_a_pci_device(inner: str, expected: tuple[str, str | None]) -> None:
    found = host_libvirt._pci_device(host_libvirt.parse(PCI.replace("<iommuGroup", inner + "<iommuGroup")))
    assert (found["kind"], found["physical_function"]) == expected


def test_a_real_qemu_driver(qemu: Any) -> None:
    capabilities = host_libvirt.Capabilities(qemu)
    emulator = capabilities.emulator(qemu.getVersion())
    assert capabilities.host_uuid and emulator.path.startswith("/")
    assert capabilities.machines()["q35"].startswith("pc-q35-") and emulator.machine == "q35"
    assert {"sse2", "lm"} <= set(capabilities.cpu(qemu)["features"])
    firmware = host_libvirt.firmware(qemu, emulator, "qemu")
    assert firmware["bios"] is True and firmware["efi"] in (True, False)
    assert host_libvirt.pci_devices(qemu) is not None
