# SPDX-License-Identifier: GPL-3.0-or-later
import json
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined, nodes

from berth.domain import render_domain
from berth.domain.record import NAMESPACE
from berth.domain.render import environment, render_values, template_values
from berth.errors import InvalidInput

RECORD = f"metadata/{{{NAMESPACE}}}guest"


def rendered(case, **differs):
    return render_domain({**case.plan, **differs}, image=case.image, domain_type=case.domain_type)


def test_golden(case, request):
    text = rendered(case)
    if request.config.getoption("--regenerate", default=False):
        case.golden.write_text(text, encoding="utf-8")
    assert text == case.golden.read_text(encoding="utf-8")


def test_no_golden_file_without_a_case(all_cases):
    assert {path.name for path in all_cases[0].golden.parent.iterdir()} == {case.golden.name for case in all_cases}


def test_golden_files_hold_to_libvirts_schema(case, libvirt_uri):
    connection = libvirt.open(libvirt_uri)
    try:
        domain = connection.defineXMLFlags(case.golden.read_text(encoding="utf-8"), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    except libvirt.libvirtError as error:
        # The schema comes first; what this machine's QEMU cannot do (KVM, another architecture, a TPM) comes after it.
        assert error.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED, str(error)
        assert case.name in ("arm", "kvm", "windows-kvm", "tpm", "efi", "secure-boot"), str(error)
    finally:
        connection.close()


class Marking(Environment):
    """Notes which branches of the templates were rendered, and knows all of them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.all_branches, self.seen = set(), set()
        self.globals["seen_branch"] = self.note

    def note(self, name):
        self.seen.add(name)
        return ""

    def _parse(self, source, name, filename):
        tree = super()._parse(source, name, filename)
        assert not list(tree.find_all(nodes.CondExpr)), f"{name}: write {{% if %}}, inline conditions cannot be marked"
        branching = list(tree.find_all((nodes.If, nodes.For)))
        chained = [id(other) for node in branching if isinstance(node, nodes.If) for other in node.elif_]
        for node in branching:
            self._mark(node.body, f"{name}:{node.lineno}:body")
            if isinstance(node, nodes.If) and id(node) not in chained:
                self._mark(node.else_, f"{name}:{node.lineno}:else")
        return tree

    def _mark(self, body, branch):
        self.all_branches.add(branch)
        call = nodes.Call(nodes.Name("seen_branch", "load"), [nodes.Const(branch)], [], None, None)
        body.insert(0, nodes.Output([call]))


def test_every_branch_of_the_templates_is_in_a_golden_file(all_cases):
    plain = environment()
    marking = Marking(
        loader=PackageLoader("berth.domain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    for case in all_cases:
        values = template_values(case.plan, image=case.image, domain_type=case.domain_type, disk_cache="none")
        assert render_values(values, marking) == render_values(values, plain)
    for name in plain.list_templates():
        marking.get_template(name)
    assert len(marking.all_branches) > 30
    assert marking.all_branches - marking.seen == set()


def test_the_record_comes_back_from_the_xml(all_cases):
    case = next(case for case in all_cases if case.name == "project")
    element = ElementTree.fromstring(rendered(case, user_data="#cloud-config\npassword: hunter2\n")).find(RECORD)
    assert element.attrib == {"uuid": case.plan["uuid"], "name": "web-1", "project": "shop"}
    record = json.loads(element.text)
    assert record["metadata"] == case.plan["metadata"]
    assert (record["version"], record["image_digest"], record["image_format"]) == (1, "sha512:00ff", "qcow2")
    assert record["disks"][0]["size_gib"] == 4
    assert record["seed_path"] == f"{case.plan['instance_dir']}/seed.iso"
    assert "user_data" not in record
    assert "limits" not in record


def test_user_data_never_reaches_the_xml(plain):
    assert "hunter2" not in rendered(plain, user_data="#cloud-config\npassword: hunter2\n")


HOSTILE = {
    "markup": '</name><devices/>"<&',
    "newline": "web\n<uuid>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "entity": "&xxe;<!DOCTYPE x>",
    "cdata": "]]>",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("key", ["name", "project", "machine", "console_log", "flavor", "login_user"])
def test_values_past_every_check_stay_values(plain, key, value):
    """The templates alone: no check in front of them, and still the tree keeps its shape."""
    plan = {**plain.plan, key: value}
    values = template_values(plan, image=plain.image, domain_type="qemu", disk_cache="none")
    root = ElementTree.fromstring(render_values(values, environment()))
    shape = [element.tag for element in root.iter()]
    assert shape == [element.tag for element in ElementTree.fromstring(rendered(plain)).iter()]
    assert json.loads(root.find(RECORD).text)[key] == value


BAD = {
    "name goes up": ({"name": "../etc"}, "name"),
    "name with markup": ({"name": "a<b"}, "name"),
    "name with a quote": ({"name": 'a"b'}, "name"),
    "name with a newline": ({"name": "a\nb"}, "name"),
    "name that ends with a newline": ({"name": "web\n", "domain_name": "web\n"}, "name"),
    "project with a slash": ({"project": "a/b"}, "project"),
    "domain name of another": ({"domain_name": "other"}, "domain_name"),
    "uuid in capitals": ({"uuid": "4B1D5E0C-9B8A-4C6E-8A51-2F0F3A9C7D10"}, "uuid"),
    "no vcpus": ({"vcpus": 0}, "vcpus"),
    "memory as text": ({"memory_mib": "512"}, "memory_mib"),
    "memory as truth": ({"memory_mib": True}, "memory_mib"),
    "machine with a path": ({"machine": "../q35"}, "machine"),
    "unknown firmware": ({"firmware": "coreboot"}, "firmware"),
    "unknown cache": ({"disk_cache": "unsafe"}, "disk_cache"),
    "arm with bios": ({"architecture": "aarch64"}, "firmware"),
    "secure boot with bios": ({"properties": {"os_secure_boot": "required"}}, "os_secure_boot"),
    "unknown bus": ({"properties": {"hw_disk_bus": "ide"}}, "hw_disk_bus"),
    "switch that is none": ({"properties": {"hw_time_hpet": "maybe"}}, "hw_time_hpet"),
    "topology that does not add up": ({"vcpus": 4, "properties": {"hw_cpu_cores": "3"}}, "hw_cpu_cores 3"),
    "cores that are no number": ({"properties": {"hw_cpu_cores": "²"}}, "hw_cpu_cores"),
    "instance folder of another": ({"instance_dir": "/var/lib/berth/instances/x"}, "instance_dir"),
    "instance folder that goes up": ({"instance_dir": "/a/../4b1d5e0c-9b8a-4c6e-8a51-2f0f3a9c7d10"}, "instance_dir"),
    "console log elsewhere": ({"console_log": "/etc/passwd"}, "console_log"),
    "console log with a newline": ({"console_log": "/a\n/4b1d5e0c-9b8a-4c6e-8a51-2f0f3a9c7d10.log"}, "console_log"),
}


@pytest.mark.parametrize(("differs", "where"), BAD.values(), ids=BAD)
def test_bad_plans_are_refused(plain, differs, where):
    with pytest.raises(InvalidInput) as caught:
        rendered(plain, **differs)
    assert where in [problem["where"] for problem in caught.value.data["problems"]]


CELL = {
    "guest_cell": 0, "host_cell": 0, "memory_mib": 512, "guest_cpus": [0], "cpus": {"0": 4}, "cpuset": [],
    "page_size_kib": 4, "blocked": [],
}  # fmt: skip
BAD_PINS = {
    "no map": ([1], "pins"),
    "pci address with markup": ({"pci_addresses": ["0000:3b:00.0'/>"]}, "pins.pci_addresses"),
    "pci address that is none": ({"pci_addresses": [3]}, "pins.pci_addresses"),
    "emulator": ({"emulator_cpus": ["0-3"]}, "pins.emulator_cpus"),
    "cell": ({"cells": ["0"]}, "pins.cells[0]"),
    "cpu as text": ({"cells": [{**CELL, "cpus": {"0": "4"}}]}, "pins.cells[0].cpus"),
    "cpu that is none": ({"cells": [{**CELL, "cpus": {"0": -1}}]}, "pins.cells[0].cpus"),
    "nowhere to run": ({"cells": [{**CELL, "cpus": {}}]}, "pins.cells[0].cpuset"),
    "no guest cpus": ({"cells": [{**CELL, "guest_cpus": []}]}, "pins.cells[0].guest_cpus"),
    "page size": ({"cells": [{**CELL, "page_size_kib": "2MiB"}]}, "pins.cells[0].page_size_kib"),
    "host cell": ({"cells": [{**CELL, "host_cell": None}]}, "pins.cells[0].host_cell"),
    "another guest's cpus": ({"cells": [{**CELL, "guest_cpus": [1], "cpus": {"1": 4}}]}, "pins.cells"),
    "too little memory": ({"cells": [{**CELL, "memory_mib": 256}]}, "pins.cells"),
    "out of order": ({"cells": [{**CELL, "guest_cell": 1}]}, "pins.cells"),
}


@pytest.mark.parametrize(("pins", "where"), BAD_PINS.values(), ids=BAD_PINS)
def test_bad_pins_are_refused(plain, pins, where):
    with pytest.raises(InvalidInput) as caught:
        rendered(plain, pins=pins)
    assert [problem["where"] for problem in caught.value.data["problems"]] == [where]


def test_pins_of_nothing_are_a_plain_guest(plain):
    empty = {"cells": [], "pci_addresses": [], "emulator_cpus": []}
    trees = [ElementTree.fromstring(rendered(plain, pins=pins)) for pins in (None, empty)]
    assert len({tuple(element.tag for element in tree.iter()) for tree in trees}) == 1
    assert trees[1].find("cputune") is None and trees[1].find("devices/hostdev") is None


BAD_NETWORKS = {
    "mac of a group": ({"mac": "53:54:00:aa:00:01"}, "mac"),
    "mac with arguments": ({"mac": "52:54:00:aa:00:01,x=y"}, "mac"),
    "unknown kind": ({"kind": "vxlan"}, "kind"),
    "network with markup": ({"source": "lan'/><x"}, "source"),
    "long bridge": ({"kind": "bridge", "source": "a-very-long-bridge"}, "source"),
    "address with arguments": ({"kind": "user", "address": "10.0.2.15,smb=/"}, "address"),
    "no address": ({"address": None}, "address"),
    "prefix": ({"prefix": 33}, "prefix"),
    "gateway": ({"gateway": "gw"}, "gateway"),
    "dns": ({"dns": ["9.9.9.9\n"]}, "dns"),
    "port": ({"ssh_port": 70000}, "ssh_port"),
    "assignment": ({"assignment": "magic"}, "assignment"),
}


@pytest.mark.parametrize(("differs", "where"), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_bad_networks_are_refused(plain, differs, where):
    with pytest.raises(InvalidInput) as caught:
        rendered(plain, networks=[{**plain.plan["networks"][0], **differs}])
    assert f"networks[0].{where}" in [problem["where"] for problem in caught.value.data["problems"]]


def test_two_interfaces_with_one_mac_are_refused(plain):
    network = plain.plan["networks"][0]
    with pytest.raises(InvalidInput, match=r"networks\[1\]\.mac"):
        rendered(plain, networks=[network, {**network, "mac": network["mac"].lower()}])


def test_all_mistakes_come_at_once(plain):
    with pytest.raises(InvalidInput) as caught:
        rendered(plain, name="A", vcpus=0, machine="", firmware="?")
    assert len(caught.value.data["problems"]) == 4


def test_templates_are_in_the_package():
    folder = Path(__import__("berth.domain").domain.__file__).parent / "templates"
    assert (folder / "domain.xml.j2").is_file()
