# SPDX-License-Identifier: GPL-3.0-or-later
import copy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils.domain_diff import differences, keep_machine

GOLDEN = Path(__file__).parents[2] / "domain" / "golden"
# What a libvirt with QEMU's own emulation for x86 can define.
DEFINABLE = sorted(
    path.stem for path in GOLDEN.glob("*.xml") if path.stem not in ("arm", "kvm", "windows-kvm", "tpm", "secure-boot")
)


def golden(name):
    return (GOLDEN / f"{name}.xml").read_text(encoding="utf-8")


def defined(uri, xml):
    connection = libvirt.open(uri)
    try:
        domain = connection.defineXML(xml)
        kept = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        return kept
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED:
            pytest.skip(f"this machine's QEMU cannot: {error}")
        raise
    finally:
        connection.close()


@pytest.mark.parametrize("name", DEFINABLE)
def test_what_libvirt_fills_in_is_no_difference(libvirt_uri, name):
    assert differences(golden(name), defined(libvirt_uri, golden(name))) == []


def changes():
    """Yields (what, changed XML) for every attribute and every text of a rendered domain."""
    original = ElementTree.fromstring(golden("plain"))
    for index, element in enumerate(original.iter()):
        for name in element.attrib:
            changed = copy.deepcopy(original)
            target = list(changed.iter())[index]
            target.set(name, "KiB" if name == "unit" else "1" + target.get(name))
            yield f"{index}-{element.tag.rpartition('}')[2]}@{name}", changed
        if (element.text or "").strip():
            changed = copy.deepcopy(original)
            target = list(changed.iter())[index]
            target.text = "1" + target.text.strip()
            yield f"{index}-{element.tag.rpartition('}')[2]}", changed


CHANGES = dict(changes())


@pytest.fixture(scope="module")
def kept(libvirt_uri):
    return defined(libvirt_uri, golden("plain"))


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(kept, changed):
    assert differences(ElementTree.tostring(changed, encoding="unicode"), kept) != []


DEVICE = "./devices"
ADDED = {
    "disk": "<disk type='file' device='disk'><source file='/x'/><target dev='vdc' bus='virtio'/></disk>",
    "interface": "<interface type='user'><mac address='52:54:00:00:00:99'/></interface>",
    "hostdev": "<hostdev mode='subsystem' type='pci'/>",
    "graphics": "<graphics type='vnc' port='5900'/>",
}


@pytest.mark.parametrize("device", ADDED.values(), ids=ADDED)
def test_a_device_that_nobody_wanted_is_seen(kept, device):
    root = ElementTree.fromstring(kept)
    root.find(DEVICE).append(ElementTree.fromstring(device))
    found = differences(golden("plain"), ElementTree.tostring(root, encoding="unicode"))
    assert len(found) == 1
    assert found[0].wanted is None


def test_a_device_that_is_gone_is_seen(kept):
    root = ElementTree.fromstring(kept)
    root.find(DEVICE).remove(root.find("./devices/rng"))
    found = differences(golden("plain"), ElementTree.tostring(root, encoding="unicode"))
    assert [(item.path, item.found) for item in found] == [("domain/devices/rng", None)]


MACHINES = {"older q35": ("q35", "pc-q35-5.2", True), "other kind": ("q35", "pc-i440fx-7.2", False),
            "pinned": ("pc-q35-5.2", "pc-q35-7.2", False)}  # fmt: skip


@pytest.mark.parametrize(("wanted", "found", "same"), MACHINES.values(), ids=MACHINES)
def test_a_guest_keeps_its_machine(kept, wanted, found, same):
    root = ElementTree.fromstring(kept)
    root.find("os/type").set("machine", found)
    there = ElementTree.tostring(root, encoding="unicode")
    asked = golden("plain").replace('machine="q35"', f'machine="{wanted}"')
    assert (differences(asked, there) == []) is same
    expected = found if same else wanted
    assert ElementTree.fromstring(keep_machine(asked, there)).find("os/type").get("machine") == expected
