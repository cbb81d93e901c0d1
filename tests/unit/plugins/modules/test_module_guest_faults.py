# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the middle of berth.kvm.guest: kills at every step, a daemon that restarts, two calls at once."""

import dataclasses
import json
import shutil
import threading
import time
from pathlib import Path

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils.guest_steps import ABSENT, PRESENT, STEPS

RUNNING = libvirt.VIR_DOMAIN_RUNNING


def only(answer):
    assert len(answer["guests"]) == 1
    return answer["guests"][0]


def test_a_daemon_that_restarts_meanwhile_is_waited_for(guest_host, private_libvirtd):
    guests = [guest_host.definition(f"web-{number}") for number in range(6)]
    answers = []
    worker = threading.Thread(target=lambda: answers.append(guest_host.run("present", *guests)))
    worker.start()
    deadline = time.monotonic() + 30
    while not list(guest_host.instances.rglob("disk.qcow2")) and time.monotonic() < deadline:
        time.sleep(0.01)
    private_libvirtd.restart_daemon()
    worker.join(timeout=60)
    assert [item["state"] for item in answers[0]["guests"]] == ["running"] * 6, answers
    assert len(guest_host.domains()) == 6


def test_two_calls_at_once_never_promise_the_same_memory(guest_host):
    limits = {"memory_mib": 40}
    processes = [
        guest_host.start_module("present", [guest_host.definition(name, limits=limits)]) for name in ("web-1", "web-2")
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(str(only(answer)["reason"]) for answer in answers) == ["None", "memory"]
    assert len(guest_host.domains()) == 1


KILLS = [(verb, name, when) for verb, names in STEPS.items() for name in names for when in ("before", "after")]


@pytest.mark.parametrize(("verb", "name", "when"), KILLS, ids=[".".join(kill) for kill in KILLS])
def test_killed_at_a_step_and_run_again(guest_host, verb, name, when):
    definition = guest_host.definition()
    state = {PRESENT: "present", ABSENT: "absent"}[verb]
    if state == "absent":
        guest_host.run("present", definition)
    guest_host.kill_at(f"{verb}.{name}.{when}", state, definition)
    item = only(guest_host.run(state, definition))
    assert item["ok"] is True, item
    if state == "present":
        assert item["ssh_host_key"].startswith("ssh-ed25519 ")
        assert guest_host.domains() == {"web-1": (RUNNING, definition["uuid"])}
        names = {Path(path).name for path in guest_host.files()}
        own = {definition["uuid"], f"{definition['uuid']}.log", "disk.qcow2", "seed.iso"}
        assert names == own
        guest_host.run("absent", definition)
    assert guest_host.domains() == {}
    assert guest_host.files() == []


def test_what_a_killed_run_left_half_made_is_made_anew(guest_host):
    definition = guest_host.definition()
    folder = Path(definition["instance_dir"])
    folder.mkdir()
    for name in ("disk.qcow2.part", "seed.iso.part", "hostkey", "hostkey.pub"):
        (folder / name).write_text("half", encoding="utf-8")
    assert only(guest_host.run("present", definition))["ok"] is True
    assert sorted(path.name for path in folder.iterdir()) == ["disk.qcow2", "seed.iso"]


def test_a_guest_is_never_put_on_another_image_than_its_disk_is_based_on(guest_host):
    first = guest_host.definition()
    assert guest_host.run("present", first)["guests"][0]["ok"]
    other = guest_host.folder / "images/sha256-11.qcow2"
    shutil.copy(guest_host.image.path, other)
    guest_host.image = dataclasses.replace(guest_host.image, path=str(other), digest="sha256:11")
    (item,) = guest_host.run("present", guest_host.definition())["guests"]
    assert (item["ok"], item["reason"], item["state"], item["changed"]) == (False, "base", "running", False)
    assert "sha256-00.qcow2" in item["message"] and "sha256-11.qcow2" in item["message"]
    connection = guest_host.connection()
    assert "sha256-11" not in connection.lookupByName("web-1").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    connection.close()


def test_a_guest_keeps_its_disks_where_they_were_made(guest_host):
    assert guest_host.run("present", guest_host.definition())["guests"][0]["ok"]
    guest_host.instances = guest_host.folder / "elsewhere"
    guest_host.instances.mkdir()
    moved = guest_host.definition()
    (item,) = guest_host.run("present", moved)["guests"]
    assert (item["ok"], item["reason"], item["state"]) == (False, "disk", "running")
    assert moved["disks"][0]["path"] in item["message"] and "berth_instances_path" in item["message"]
    assert list(guest_host.instances.iterdir()) == []
