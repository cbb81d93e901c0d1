# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt says of its host: capabilities, firmware, PCI devices, pools and networks. Parsed from its XML.

Sources: libvirt's pages "Driver capabilities XML", "Domain capabilities XML", "Node devices XML", "Storage pool XML"
and "Network XML".
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.kvm_probe import Emulator

try:
    import libvirt
except ImportError:
    libvirt = None

Element = ElementTree.Element
# Architectures whose machines start from a BIOS that QEMU brings along.
BIOS_ARCHITECTURES = ("x86_64", "i686")
MACHINE_CHOICE = ("q35", "pc", "virt")


def parse(xml: str) -> Element:
    """Returns the root of a document that libvirt wrote."""
    return ElementTree.fromstring(xml)  # noqa: S314 (libvirt writes no document types, so there are no entities)


class Capabilities:
    """libvirt's capabilities of one host, for guests of the host's own architecture."""

    def __init__(self, connection: Any) -> None:
        self.root = parse(connection.getCapabilities())
        self.architecture = self.root.findtext("host/cpu/arch")
        self.host_uuid = self.root.findtext("host/uuid")
        self._guest = next(
            (
                guest
                for guest in self.root.findall("guest")
                if guest.findtext("os_type") == "hvm" and _name(guest.find("arch")) == self.architecture
            ),
            None,
        )

    def machines(self) -> Dict[str, str]:
        """Returns alias -> canonical name of the machine types, such as q35 -> pc-q35-7.2."""
        found = {}
        for machine in [] if self._guest is None else self._guest.iterfind("arch//machine"):
            canonical = machine.get("canonical")
            if canonical and machine.text:
                found[machine.text] = canonical
        return found

    def domain_types(self) -> Set[str]:
        """Returns the domain types that libvirt offers, such as qemu and kvm."""
        guest = self._guest
        return set() if guest is None else {kind.get("type", "") for kind in guest.iterfind("arch/domain")}

    def emulator(self, version: Optional[int]) -> Emulator:
        """Returns the emulator of guests here, what the KVM probe needs to know."""
        machines = self.machines()
        return Emulator(
            path=("" if self._guest is None else self._guest.findtext("arch/emulator")) or "",
            version=version,
            machine=next((name for name in MACHINE_CHOICE if name in machines), ""),
            architecture=self.architecture or "",
            kvm_listed="kvm" in self.domain_types(),
            ids=self.guest_ids(),
        )

    def guest_ids(self) -> Optional[Tuple[int, int]]:
        """Returns user and group of the guests' processes, None where libvirt does not change them."""
        for model in self.root.iterfind("host/secmodel"):
            label = model.findtext("baselabel[@type='kvm']") or model.findtext("baselabel[@type='qemu']")
            ids = re.match(r"\+(\d+):\+(\d+)$", label or "")
            if model.findtext("model") == "dac" and ids:
                return int(ids.group(1)), int(ids.group(2))
        return None

    def cpu(self, connection: Any) -> Dict[str, Any]:
        """Returns the part `cpu` of the facts. The features are all that the model stands for, in libvirt's words."""
        model = self.root.find("host/cpu")
        cpus = self.root.findall("host/topology/cells/cell/cpus/cpu")
        return {
            "model": None if model is None else model.findtext("model"),
            "vendor": None if model is None else model.findtext("vendor"),
            **_topology(cpus),
            "features": _features(connection, model),
        }

    def numa_cells(self) -> List[Dict[str, Any]]:
        """Returns the part `numa_cells` of the facts."""
        return [_numa_cell(cell) for cell in self.root.iterfind("host/topology/cells/cell")]


def _topology(cpus: List[Element]) -> Dict[str, Optional[int]]:
    sockets = {cpu.get("socket_id") for cpu in cpus}
    cores = {(cpu.get("socket_id"), cpu.get("die_id"), cpu.get("core_id")) for cpu in cpus}
    if not cpus or None in sockets:
        return {"sockets": None, "cores": None, "threads": None, "total": len(cpus) or None}
    return {
        "sockets": len(sockets),
        "cores": len(cores) // len(sockets),
        "threads": len(cpus) // len(cores),
        "total": len(cpus),
    }


def _features(connection: Any, model: Optional[Element]) -> Optional[List[str]]:
    if model is None or model.find("model") is None:
        return None
    flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    text = ElementTree.tostring(model, encoding="unicode")
    expanded = supported(lambda: connection.baselineCPU([text], flags))
    if expanded is None:
        return None
    return sorted(_name(feature) for feature in parse(expanded).iterfind("feature"))


def _numa_cell(cell: Element) -> Dict[str, Any]:
    memory = cell.findtext("memory")
    pages = [
        {"size_kib": _kib(page.get("size"), page.get("unit")), "total": int(page.text or 0)}
        for page in cell.iterfind("pages")
    ]
    return {
        "id": int(cell.get("id", 0)),
        "memory_mib": None if memory is None else int(memory) // 1024,
        "cpus": [_numa_cpu(cpu) for cpu in cell.iterfind("cpus/cpu")],
        "pages": pages,
        "distances": [int(sibling.get("value", 0)) for sibling in cell.iterfind("distances/sibling")],
    }


def _numa_cpu(cpu: Element) -> Dict[str, Any]:
    return {
        "id": int(cpu.get("id", 0)),
        "socket_id": _integer(cpu.get("socket_id")),
        "core_id": _integer(cpu.get("core_id")),
        "siblings": cpu_list(cpu.get("siblings", "")),
    }


def cpu_list(text: str) -> List[int]:
    """Returns the numbers of a list such as 0-1,4."""
    found: List[int] = []
    for part in filter(None, text.split(",")):
        first, _dash, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def firmware(connection: Any, emulator: Emulator, domain_type: str) -> Dict[str, Optional[bool]]:
    """Returns the part `firmware` of the facts: what libvirt can pick by itself for the host's machine type."""
    bios = emulator.architecture in BIOS_ARCHITECTURES
    text = supported(
        lambda: connection.getDomainCapabilities(
            emulator.path or None, emulator.architecture, emulator.machine or None, domain_type
        )
    )
    if text is None:
        return {"bios": bios, "efi": None, "secure_boot": None}
    os_part = parse(text).find("os")
    efi = "efi" in _enum(os_part, "enum[@name='firmware']")
    return {"bios": bios, "efi": efi, "secure_boot": efi and "yes" in _enum(os_part, "loader/enum[@name='secure']")}


def _enum(element: Optional[Element], path: str) -> List[str]:
    return [] if element is None else [value.text or "" for value in element.iterfind(path + "/value")]


def pci_devices(connection: Any) -> Optional[List[Dict[str, Any]]]:
    """Returns the part `pci_devices` of the facts, None where this libvirt cannot list devices."""
    devices = supported(lambda: connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV))
    if devices is None:
        return None
    found = each(devices, lambda device: _pci_device(parse(device.XMLDesc(0))))
    return sorted(found, key=lambda device: device["address"])


def _pci_device(device: Element) -> Dict[str, Any]:
    capability = device.find("capability[@type='pci']")
    if capability is None:
        raise ValueError("a PCI device without its capability")
    physical = capability.find("capability[@type='phys_function']/address")
    numa, group = capability.find("numa"), capability.find("iommuGroup")
    return {
        "address": pci_address(capability.findtext),
        "vendor_id": _identifier(capability.find("vendor")),
        "product_id": _identifier(capability.find("product")),
        "numa_node": None if numa is None else _integer(numa.get("node")),
        "driver": device.findtext("driver/name"),
        "iommu_group": None if group is None else _integer(group.get("number")),
        "kind": _pci_kind(capability),
        "physical_function": None if physical is None else pci_address(physical.get),
    }


def pci_address(part: Callable[[str], Optional[str]]) -> str:
    """Returns an address such as 0000:3b:00.1, of the numbers that `part` gives."""
    parts = [int(part(name) or "0", 0) for name in ("domain", "bus", "slot", "function")]
    return "{0:04x}:{1:02x}:{2:02x}.{3:x}".format(*parts)


def _pci_kind(capability: Element) -> str:
    """Returns Nova's word for what the device is to SR-IOV.

    "Node devices XML", capability pci: a device with virtual functions, also with none of them in use, has the nested
    capability virt_functions; such a function has phys_function with its device's address.
    """
    if capability.find("capability[@type='virt_functions']") is not None:
        return "type-PF"
    return "type-PCI" if capability.find("capability[@type='phys_function']/address") is None else "type-VF"


def pools(connection: Any) -> Optional[List[Dict[str, Any]]]:
    """Returns the part `pools` of the facts, None where this libvirt has no storage driver."""
    found = supported(lambda: connection.listAllStoragePools(0))
    return None if found is None else sorted(each(found, _pool), key=lambda pool: pool["name"])


def _pool(pool: Any) -> Dict[str, Any]:
    root = parse(pool.XMLDesc(0))
    active = bool(pool.isActive())
    _state, capacity, _allocation, available = pool.info() if active else (0, None, None, None)
    return {
        "name": pool.name(),
        "type": root.get("type"),
        "path": root.findtext("target/path"),
        "active": active,
        "capacity_mib": _mib(capacity),
        "available_mib": _mib(available),
    }


def networks(connection: Any) -> Optional[List[Dict[str, Any]]]:
    """Returns the part `networks` of the facts, None where this libvirt has no network driver."""
    found = supported(lambda: connection.listAllNetworks(0))
    return None if found is None else sorted(each(found, _network), key=lambda network: network["name"])


def _network(network: Any) -> Dict[str, Any]:
    root = parse(network.XMLDesc(0))
    forward, bridge = root.find("forward"), root.find("bridge")
    active = bool(network.isActive())
    return {
        "name": network.name(),
        "active": active,
        "autostart": bool(network.autostart()) if network.isPersistent() else False,
        "bridge": None if bridge is None else bridge.get("name"),
        # "Network XML", Connectivity: forward defaults to nat, without the element the network is isolated.
        "forward_mode": "isolated" if forward is None else forward.get("mode", "nat"),
        "leases": _leases(network) if active and root.find("ip/dhcp") is not None else [],
    }


def _leases(network: Any) -> List[Dict[str, str]]:
    """Returns who has which IPv4 address of libvirt's own DHCP server."""
    leases = supported(network.DHCPLeases) or []
    return [
        {"mac": lease["mac"], "address": lease["ipaddr"]}
        for lease in leases
        if lease["type"] == libvirt.VIR_IP_ADDR_TYPE_IPV4
    ]


def supported(call: Callable[[], Any]) -> Any:
    """Returns what `call` returns, None when this libvirt's driver has no such function. Raises libvirtError else."""
    unsupported = (
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_INVALID_ARG,
        libvirt.VIR_ERR_NO_CONNECT,
    )
    try:
        return call()
    except libvirt.libvirtError as error:
        if error.get_error_code() in unsupported:
            return None
        raise


def each(objects: List[Any], describe: Callable[[Any], Any]) -> List[Any]:
    """Returns describe(object) of all that are still there: between the list and the look one may have gone."""
    gone = (
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_NODE_DEVICE,
    )
    found = []
    for item in objects:
        try:
            found.append(describe(item))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in gone:
                raise
    return found


def _name(element: Optional[Element]) -> str:
    return "" if element is None else element.get("name", "")


def _identifier(element: Optional[Element]) -> Optional[str]:
    identifier = None if element is None else element.get("id")
    return None if identifier is None else identifier.replace("0x", "", 1)


def _integer(text: Optional[str]) -> Optional[int]:
    return None if text is None else int(text, 0)


def _mib(size_bytes: Optional[int]) -> Optional[int]:
    return None if size_bytes is None else size_bytes // (1024 * 1024)


def _kib(size: Optional[str], unit: Optional[str]) -> int:
    scale = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024 * 1024}
    return int(int(size or 0) * scale.get(unit or "KiB", 1))
