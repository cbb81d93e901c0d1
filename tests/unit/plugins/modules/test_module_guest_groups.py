# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own look at server groups, and stubborn domains that must not outlive their deletion."""

import libvirt
import pytest


def grouped(host, name, policy, members=(), **differs):
    rule = {"policy": policy, "max_server_per_host": 1}
    return host.definition(name, server_group="g", group_policy=rule, group_members=list(members), **differs)


def outcome(answer):
    return [(item["name"], item["ok"], item["reason"], item["kind"]) for item in answer["guests"]]


def test_two_of_one_anti_affinity_group_are_not_made_on_one_host(guest_host):
    first, second = (grouped(guest_host, name, "anti-affinity") for name in ("web-1", "web-2"))
    assert outcome(guest_host.run("present", first, second)) == [
        ("web-1", True, None, None),
        ("web-2", False, "group", "host"),
    ]
    third = guest_host.run("present", grouped(guest_host, "web-3", "anti-affinity"))
    assert outcome(third) == [("web-3", False, "group", "host")]
    assert "has 1 of server group g already (web-1)" in third["guests"][0]["message"]
    assert list(guest_host.domains()) == ["web-1"]
    assert outcome(guest_host.run("present", first)) == [("web-1", True, None, None)]
    other = grouped(guest_host, "web-4", "anti-affinity", project="other", domain_name="other.web-4")
    assert outcome(guest_host.run("present", other)) == [("other.web-4", True, None, None)]


def test_an_affinity_group_goes_where_its_guests_are(guest_host):
    first = grouped(guest_host, "web-1", "affinity")
    assert guest_host.run("present", first)["guests"][0]["ok"]
    assert guest_host.run("present", grouped(guest_host, "web-2", "affinity", [first["uuid"]]))["guests"][0]["ok"]
    guest_host.run("absent", first, guest_host.definition("web-2"))
    moved = guest_host.run("present", grouped(guest_host, "web-3", "affinity", [first["uuid"]]))
    assert outcome(moved) == [("web-3", False, "group", "host")]
    assert (guest_host.domains(), guest_host.files()) == ({}, [])


def test_a_group_with_an_unknown_policy_is_no_definition(guest_host):
    assert outcome(guest_host.run("present", grouped(guest_host, "web-1", "sometimes"))) == [
        ("web-1", False, "definition", "request")
    ]


def save(domain):
    domain.managedSave()


def snapshot(domain):
    domain.snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>")


def checkpoint(domain):
    domain.checkpointCreateXML(
        "<domaincheckpoint><name>c</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>"
    )


@pytest.mark.parametrize("burden", [save, snapshot, checkpoint])
def test_what_keeps_a_domain_from_being_undefined_goes_with_it(guest_host, burden):
    """virDomainUndefine refuses each of these alone; so the flags that take them along are really needed."""
    definition = guest_host.definition()
    guest_host.run("present", definition)
    connection = guest_host.connection()
    domain = connection.lookupByName("web-1")
    burden(domain)
    if domain.isActive():
        domain.destroy()
    with pytest.raises(libvirt.libvirtError):
        domain.undefine()
    connection.close()
    answer = guest_host.run("absent", definition)
    assert answer["guests"][0]["ok"], answer
    assert (guest_host.domains(), guest_host.files()) == ({}, [])


def test_the_variables_of_the_firmware_go_with_their_guest(guest_host):
    definition = guest_host.definition(firmware="efi", machine="q35", memory_mib=64)
    made = guest_host.run("present", definition)["guests"][0]
    if made["reason"] in ("libvirt", "define") and "firmware" in made["message"]:
        pytest.skip(f"no UEFI firmware here: {made['message']}")
    assert made["ok"], made
    connection = guest_host.connection()
    domain = connection.lookupByName("web-1")
    domain.destroy()
    with pytest.raises(libvirt.libvirtError):
        domain.undefine()
    connection.close()
    assert guest_host.run("absent", definition)["guests"][0]["ok"]
    assert (guest_host.domains(), guest_host.files()) == ({}, [])
