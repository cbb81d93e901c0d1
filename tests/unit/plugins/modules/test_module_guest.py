# SPDX-License-Identifier: GPL-3.0-or-later
import json
import stat
from pathlib import Path

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils import iso9660
from ansible_collections.berth.kvm.plugins.module_utils.guest_steps import ABSENT, PRESENT, STEPS

RUNNING, OFF = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_SHUTOFF


def only(answer):
    assert len(answer["guests"]) == 1
    return answer["guests"][0]


def foreign_xml(name, uuid="", mac="52:54:00:99:99:99", memory_mib=16):
    uuid_xml = f"<uuid>{uuid}</uuid>" if uuid else ""
    return (
        f"<domain type='qemu'><name>{name}</name>{uuid_xml}<memory unit='MiB'>{memory_mib}</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><interface type='user'><mac address='{mac}'/>"
        "</interface></devices></domain>"
    )


def test_guests_are_made_once(guest_host):
    guests = [guest_host.definition(name) for name in ("web-1", "web-2", "web-3")]
    answer = guest_host.run("present", *guests)
    assert answer["changed"] is True
    assert [item["state"] for item in answer["guests"]] == ["running"] * 3
    assert all(item["steps"] == list(STEPS[PRESENT]) for item in answer["guests"])
    assert {name: state for name, (state, _uuid) in guest_host.domains().items()} == dict.fromkeys(
        ("web-1", "web-2", "web-3"), RUNNING
    )
    keys = {item["ssh_host_key"] for item in answer["guests"]}
    assert len(keys) == 3
    assert all(key.startswith("ssh-ed25519 AAAA") for key in keys)

    before = guest_host.files()
    again = guest_host.run("present", *guests)
    assert again["changed"] is False
    assert again["diff"] == []
    assert {item["ssh_host_key"] for item in again["guests"]} == keys
    assert guest_host.files() == before


def test_modes_keep_others_out(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    modes = {path: stat.S_IMODE(Path(path).stat().st_mode) for path in (
        definition["instance_dir"], definition["disks"][0]["path"], definition["seed"]["path"])}  # fmt: skip
    assert list(modes.values()) == [0o711, 0o600, 0o600]


def test_the_private_host_key_is_in_the_seed_and_nowhere_else(guest_host):
    definition = guest_host.definition(user_data="#cloud-config\npassword: canary-7f3a\n")
    answer = guest_host.run("present", definition)
    with Path(definition["seed"]["path"]).open("rb") as seed:
        vendor = iso9660.read_file(seed, "vendor-data", 10_000).decode()
        user = iso9660.read_file(seed, "user-data", 10_000).decode()
    assert "BEGIN OPENSSH PRIVATE KEY" in vendor
    assert only(answer)["ssh_host_key"] in vendor
    assert user == "#cloud-config\npassword: canary-7f3a\n"
    assert "PRIVATE KEY" not in json.dumps(answer)
    assert "canary-7f3a" not in json.dumps(answer)
    assert sorted(path.name for path in Path(definition["instance_dir"]).iterdir()) == ["disk.qcow2", "seed.iso"]


def test_user_data_is_not_in_what_the_module_returns_about_its_call(guest_host):
    definition = guest_host.definition(user_data="#cloud-config\npassword: canary-7f3a\n")
    out, _err = guest_host.start_module("present", [definition]).communicate(timeout=60)
    assert "canary-7f3a" not in out


def test_check_mode_makes_nothing_and_shows_the_domain(guest_host):
    answer = guest_host.run("present", guest_host.definition(), _ansible_check_mode=True, _ansible_diff=True)
    assert answer["changed"] is True
    assert only(answer)["state"] == "absent"
    assert "<name>web-1</name>" in answer["diff"][0]["after"]
    assert guest_host.files() == []
    assert guest_host.domains() == {}


def test_a_changed_definition_waits_for_the_next_start(guest_host):
    guest_host.run("present", guest_host.definition())
    larger = guest_host.definition(memory_mib=48)
    foreseen = guest_host.run("present", larger, _ansible_check_mode=True)
    assert (foreseen["changed"], only(foreseen)["pending_restart"]) == (True, True)
    answer = guest_host.run("present", larger)
    assert only(answer)["pending_restart"] is True
    assert "domain/memory = 48" in answer["diff"][0]["after"]
    assert "domain/memory = 32768" in answer["diff"][0]["before"]
    assert guest_host.run("present", larger)["changed"] is False
    guest_host.run("rebooted", larger, hard=True)
    connection = guest_host.connection()
    assert connection.lookupByName("web-1").info()[1] == 48 * 1024
    connection.close()


def test_autostart_is_as_the_definition_says(guest_host):
    wanted = {**guest_host.definition(), "autostart": True}
    guest_host.run("present", wanted)
    connection = guest_host.connection()
    domain = connection.lookupByName("web-1")
    assert domain.autostart() == 1
    assert guest_host.run("present", wanted)["changed"] is False
    domain.setAutostart(0)
    foreseen = guest_host.run("present", wanted, _ansible_check_mode=True)
    assert (foreseen["changed"], domain.autostart()) == (True, 0)
    answer = guest_host.run("present", wanted)
    assert "autostart = True" in answer["diff"][0]["after"] and "autostart = False" in answer["diff"][0]["before"]
    assert (domain.autostart(), only(answer)["pending_restart"]) == (1, False)
    connection.close()


def test_a_stopped_guest_is_started_with_its_old_disk(guest_host):
    definition = guest_host.definition()
    key = only(guest_host.run("present", definition))["ssh_host_key"]
    assert only(guest_host.run("stopped", definition, hard=True))["state"] == "shutdown"
    before = Path(definition["disks"][0]["path"]).stat().st_ino
    item = only(guest_host.run("present", {**definition, "disks": [{**definition["disks"][0], "size_gib": 3}]}))
    assert (item["ok"], item["changed"], item["state"], item["ssh_host_key"]) == (True, True, "running", key)
    assert Path(definition["disks"][0]["path"]).stat().st_ino == before


BAD = {
    "name goes up": ({"name": "../web"}, "definition", "request"),
    "name with markup": ({"name": "a<b"}, "definition", "request"),
    "name with a quote": ({"name": 'a"b'}, "definition", "request"),
    "name with a newline": ({"name": "a\nb"}, "definition", "request"),
    "uuid goes up": ({"uuid": "../../etc"}, "definition", "request"),
    "folder elsewhere": ({"instance_dir": "/tmp"}, "definition", "request"),
    "console log elsewhere": ({"console_log": "/etc/passwd"}, "definition", "request"),
    "disk elsewhere": ({"disks": [{"path": "/etc/disk.qcow2", "format": "qcow2", "size_gib": 1,
                                   "backing": {"path": "/x", "format": "raw"}}]}, "definition", "request"),
    "xml of another": ({"xml": "<domain><name>other</name></domain>"}, "definition", "request"),
    "xml that is none": ({"xml": "<domain>"}, "definition", "request"),
    "vcpus over the limit": ({"limits": {"vcpus": 0}}, "vcpus", "host"),
    "memory over the limit": ({"limits": {"memory_mib": 31}}, "memory", "host"),
    "disk over the limit": ({"limits": {"disk_mib": 1000}}, "disk", "host"),
    "xml that libvirt refuses": ({"xml": lambda xml: xml.replace("<acpi/>", "<acpi/><nothing/>")}, "libvirt", "host"),
}  # fmt: skip


@pytest.mark.parametrize(("differs", "reason", "kind"), BAD.values(), ids=BAD)
def test_a_bad_guest_leaves_nothing_and_the_other_is_made(guest_host, differs, reason, kind):
    good, bad = guest_host.definition("good"), guest_host.definition("bad")
    for key, value in differs.items():
        bad[key] = value(bad[key]) if callable(value) else value
    answer = guest_host.run("present", bad, good)
    assert answer["failed"] is True
    first, second = answer["guests"]
    assert (first["ok"], first["changed"], first["kind"]) == (False, False, kind)
    assert first["reason"] == reason
    assert first["message"] in answer["msg"]
    assert (second["ok"], second["state"]) == (True, "running")
    assert list(guest_host.domains()) == ["good"]
    assert not any(guest_host.definition("bad")["uuid"] in path for path in guest_host.files())


def test_a_guest_that_does_not_start_leaves_nothing(guest_host):
    network = {**guest_host.plan()["networks"][0], "kind": "nat", "source": "nowhere"}
    item = only(guest_host.run("present", guest_host.definition(networks=[network])))
    assert (item["ok"], item["reason"], item["kind"], item["state"]) == (False, "start", "host", "absent")
    assert item["steps"] == list(STEPS[PRESENT])
    assert "nowhere" in item["message"]
    assert guest_host.domains() == {}
    assert guest_host.files() == []


def test_a_guest_that_was_there_and_does_not_start_is_kept(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    guest_host.run("stopped", definition, hard=True)
    before = guest_host.files()
    network = {**guest_host.plan()["networks"][0], "kind": "nat", "source": "nowhere"}
    item = only(guest_host.run("present", guest_host.definition(networks=[network])))
    assert (item["ok"], item["kind"], item["state"]) == (False, "here", "shutdown")
    assert guest_host.domains() == {"web-1": (OFF, definition["uuid"])}
    assert guest_host.files() == before


def test_a_disk_smaller_than_its_image_names_both_sizes(guest_host):
    definition = guest_host.definition()
    big = guest_host.folder / "images" / "big.raw"
    with big.open("wb") as file:
        file.truncate(3 * 1024**3)
    definition["disks"][0]["backing"] = {"path": str(big), "format": "raw"}
    item = only(guest_host.run("present", definition))
    assert (item["reason"], item["kind"]) == ("disk_size", "request")
    assert "1 GiB" in item["message"]
    assert "3.00 GiB" in item["message"]
    assert guest_host.files() == []


def test_an_image_that_is_not_there_is_the_hosts_fault(guest_host):
    definition = guest_host.definition()
    definition["disks"][0]["backing"]["path"] = str(guest_host.folder / "images/none.qcow2")
    item = only(guest_host.run("present", definition))
    assert (item["reason"], item["kind"], item["steps"]) == ("image", "host", ["check"])


def test_limits_count_what_is_there_and_what_came_before_in_the_list(guest_host):
    connection = guest_host.connection()
    connection.defineXML(foreign_xml("other", memory_mib=16))
    connection.close()
    # The other domain is off and not Berth's, so it takes nothing.
    limits = {"memory_mib": 32 + 31, "vcpus": 99, "disk_mib": 99999}
    first, second = guest_host.run("present", guest_host.definition("web-1", limits=limits),
                                   guest_host.definition("web-2", limits=limits))["guests"]  # fmt: skip
    assert first["ok"] is True
    assert (second["reason"], second["kind"]) == ("memory", "host")
    assert "32 MiB does not fit: the other domains of this host take 32 MiB of 63 MiB" in second["message"]


CONFLICTS = {
    "name": (lambda guest: foreign_xml("web-1"), "name"),
    "mac": (lambda guest: foreign_xml("other", mac=guest["networks"][0]["mac"].upper()), "mac"),
    "uuid": (lambda guest: foreign_xml("other", uuid=guest["uuid"]), "uuid"),
}


@pytest.mark.parametrize(("xml", "reason"), CONFLICTS.values(), ids=CONFLICTS)
def test_a_foreign_domain_in_the_way_stays_as_it_is(guest_host, xml, reason):
    connection = guest_host.connection()
    domain = connection.defineXML(xml(guest_host.plan()))
    before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    item = only(guest_host.run("present", guest_host.definition()))
    assert (item["ok"], item["reason"], item["kind"]) == (False, reason, "request")
    assert domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
    assert guest_host.files() == []
    connection.close()


def test_two_guests_of_one_call_cannot_share_a_mac(guest_host):
    shared = guest_host.plan("web-1")["networks"]
    answer = guest_host.run("present", guest_host.definition("web-1"), guest_host.definition("web-2", networks=shared))
    assert [item["reason"] for item in answer["guests"]] == [None, "mac"]


def test_a_forwarded_network_card_counts_as_a_mac_too(guest_host):
    network = {**guest_host.plan("web-1")["networks"][0], "ssh_port": 22022}
    guest_host.run("present", guest_host.definition("web-1", networks=[network]))
    item = only(guest_host.run("present", guest_host.definition("web-2", networks=[{**network, "ssh_port": 22023}])))
    assert item["reason"] == "mac"


def test_the_same_guest_twice_in_one_list_is_done_once(guest_host):
    definition = guest_host.definition()
    for state in ("present", "running", "absent"):
        answer = guest_host.run(state, definition, definition)
        assert [item["reason"] for item in answer["guests"]] == [None, "uuid"]


def test_a_folder_that_is_a_link_is_refused(guest_host):
    definition = guest_host.definition()
    Path(definition["instance_dir"]).symlink_to("/etc")
    for state in ("present", "absent"):
        item = only(guest_host.run(state, definition))
        assert item["reason"] == "definition"
        assert "link" in item["message"]


def test_absent_removes_the_guest_and_only_that(guest_host):
    keep, gone = guest_host.definition("keep"), guest_host.definition("gone")
    guest_host.run("present", keep)
    before = guest_host.files()
    guest_host.run("present", gone)
    answer = guest_host.run("absent", gone)
    assert (answer["changed"], only(answer)["state"], only(answer)["steps"]) == (True, "absent", list(STEPS[ABSENT]))
    assert guest_host.files() == before
    assert list(guest_host.domains()) == ["keep"]
    assert guest_host.run("absent", gone)["changed"] is False


def test_absent_in_check_mode_lists_what_would_go(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    before = guest_host.files()
    answer = guest_host.run("absent", definition, _ansible_check_mode=True)
    assert answer["changed"] is True
    assert "domain web-1: running" in answer["diff"][0]["before"]
    assert definition["disks"][0]["path"] in answer["diff"][0]["before"]
    assert guest_host.files() == before


def test_a_domain_that_is_gone_before_it_is_deleted_is_fine(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    guest_host.clear()
    answer = guest_host.run("absent", definition)
    assert (answer["changed"], only(answer)["ok"]) == (True, True)
    assert guest_host.files() == []


def test_files_that_are_not_the_guests_own_stay(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    notes = Path(definition["instance_dir"]) / "notes.txt"
    notes.write_text("mine", encoding="utf-8")
    answer = guest_host.run("absent", definition)
    assert only(answer)["ok"] is True
    assert "notes.txt" in answer["diff"][0]["after"]
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


def test_a_foreign_domain_is_not_deleted_unless_forced(guest_host):
    plan = guest_host.plan()
    connection = guest_host.connection()
    connection.defineXML(foreign_xml("theirs", uuid=plan["uuid"]))
    connection.close()
    target = {key: plan[key] for key in ("uuid", "name", "instance_dir", "console_log")}
    item = only(guest_host.run("absent", target))
    assert (item["ok"], item["reason"]) == (False, "foreign")
    assert list(guest_host.domains()) == ["theirs"]
    assert only(guest_host.run("absent", target, force=True))["ok"] is True
    assert guest_host.domains() == {}


def test_power_goes_round(guest_host):
    definition = guest_host.definition()
    target = {"uuid": definition["uuid"], "name": definition["name"]}
    guest_host.run("present", definition)
    # A guest in its firmware does not listen to its power button.
    refused = only(guest_host.run("stopped", target))
    assert (refused["ok"], refused["reason"], refused["state"], refused["kind"]) == (
        False,
        "timeout",
        "running",
        "here",
    )
    assert "hard" in refused["message"]
    assert only(guest_host.run("stopped", target, hard=True))["state"] == "shutdown"
    assert guest_host.run("stopped", target)["changed"] is False
    assert only(guest_host.run("running", target))["state"] == "running"
    assert guest_host.run("running", target)["changed"] is False
    soft = only(guest_host.run("rebooted", target))
    assert (soft["ok"], soft["state"]) == (False, "running")
    before = guest_host.run("running", target)["guests"][0]
    hard = only(guest_host.run("rebooted", target, hard=True))
    assert (before["ok"], hard["changed"], hard["state"]) == (True, True, "running")


def test_a_paused_guest_goes_on(guest_host):
    definition = guest_host.definition()
    guest_host.run("present", definition)
    connection = guest_host.connection()
    connection.lookupByName("web-1").suspend()
    connection.close()
    assert only(guest_host.run("present", definition))["changed"] is True
    assert guest_host.domains()["web-1"][0] == RUNNING


def test_power_of_a_guest_that_is_not_there(guest_host):
    definition = guest_host.definition()
    item = only(guest_host.run("running", {"uuid": definition["uuid"], "name": "web-1"}))
    assert (item["ok"], item["reason"], item["kind"], item["state"]) == (False, "absent", "host", "absent")


def test_without_libvirt_nothing_is_known(guest_host):
    uri = "qemu+unix:///system?socket=/nonexistent/socket"
    for state in ("present", "absent", "running"):
        item = only(guest_host.run(state, guest_host.definition(), uri=uri))
        assert (item["ok"], item["reason"], item["kind"], item["state"]) == (False, "libvirt", "here", "unknown")
        assert item["steps"] == []
