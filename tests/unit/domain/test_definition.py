# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest

from berth.domain import HostView, ImageOnHost, domain_name, guest_definition, guest_definitions
from berth.errors import InvalidInput, NotFound

KEYS = {
    "uuid", "name", "xml", "vcpus", "memory_mib", "disk_gib", "limits", "instance_dir", "console_log", "autostart",
    "disks", "seed", "group",
}  # fmt: skip


def test_shape(plain):
    definition = guest_definition(plain.plan, image=plain.image, host=HostView())
    assert set(definition) == KEYS
    folder = plain.plan["instance_dir"]
    assert definition["disks"] == [
        {"path": f"{folder}/disk.qcow2", "format": "qcow2", "size_gib": 4,
         "backing": {"path": plain.image.path, "format": "qcow2"}},
    ]  # fmt: skip
    assert definition["seed"]["path"] == f"{folder}/seed.iso"
    assert json.loads(json.dumps(definition)) == definition


@pytest.mark.parametrize(("asked", "autostart"), [("leave", False), ("start", True)])
def test_autostart(plain, asked, autostart):
    plan = {**plain.plan, "on_host_boot": asked}
    assert guest_definition(plan, image=plain.image, host=HostView())["autostart"] is autostart


DOMAIN_TYPES = {
    "the plan's": ("qemu", "kvm", "qemu"),
    "the host's": ("auto", "kvm", "kvm"),
    "the host's emulation": ("auto", "qemu", "qemu"),
}


@pytest.mark.parametrize(("asked", "offered", "got"), DOMAIN_TYPES.values(), ids=DOMAIN_TYPES)
def test_domain_type(plain, asked, offered, got):
    plan = {**plain.plan, "domain_type": asked}
    xml = guest_definition(plan, image=plain.image, host=HostView(domain_type=offered))["xml"]
    assert xml.startswith(f'<domain type="{got}"')


SIZES = {"flavor": (4, 2**31, 4), "exact": (0, 2**31, 2), "rounded up": (0, 2**31 + 1, 3)}


@pytest.mark.parametrize(("disk_gib", "virtual_size_bytes", "size_gib"), SIZES.values(), ids=SIZES)
def test_disk_size(plain, disk_gib, virtual_size_bytes, size_gib):
    image = ImageOnHost("/i.qcow2", "qcow2", "sha256:0", virtual_size_bytes)
    definition = guest_definition({**plain.plan, "disk_gib": disk_gib}, image=image, host=HostView())
    assert definition["disks"][0]["size_gib"] == size_gib


CACHES = {"ext4": "none", "tmpfs": "writeback", None: "none"}


@pytest.mark.parametrize(("filesystem", "cache"), CACHES.items(), ids=[str(name) for name in CACHES])
def test_disk_cache_fits_the_file_system(plain, filesystem, cache):
    host = HostView.from_facts({"storage": {"filesystem": filesystem}})
    assert f'cache="{cache}"' in guest_definition(plain.plan, image=plain.image, host=host)["xml"]
    asked = {**plain.plan, "properties": {"hw_disk_cache": "writethrough"}}
    assert 'cache="writethrough"' in guest_definition(asked, image=plain.image, host=host)["xml"]


def test_a_plan_that_was_made_for_a_host_says_the_disk_cache(plain):
    planned = {**plain.plan, "disk_cache": "writeback"}
    assert 'cache="writeback"' in guest_definition(planned, image=plain.image, host=HostView())["xml"]
    asked = {**planned, "properties": {"hw_disk_cache": "none"}}
    assert 'cache="none"' in guest_definition(asked, image=plain.image, host=HostView())["xml"]


def test_facts_may_be_missing():
    assert HostView.from_facts({}) == HostView("qemu", "none")
    assert HostView.from_facts({"virtualization": None, "storage": None}) == HostView("qemu", "none")


def test_all_bad_plans_are_told_at_once(plain):
    plans = [{**plain.plan, "vcpus": 0}, plain.plan, {**plain.plan, "memory_mib": 0, "machine": "?"}]
    with pytest.raises(InvalidInput, match="2 of 3 guests") as caught:
        guest_definitions(plans, {"debian-12": plain.image}, HostView())
    assert len(caught.value.details) == 4


def test_an_image_that_the_host_lacks(plain):
    with pytest.raises(NotFound, match="debian-12"):
        guest_definitions([plain.plan], {}, HostView())


def test_domain_names():
    assert domain_name("default", "web-1") == "web-1"
    assert domain_name("shop.eu", "web-1") == "shop.eu.web-1"
