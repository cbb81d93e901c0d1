# SPDX-License-Identifier: GPL-3.0-or-later
"""berth.kvm.guest through Ansible, from plans, with a real libvirt; and what the controller decides alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.berth.kvm.plugins.action.guest import in_order, render

from berth.domain import HostView

PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
CANARY = "canary-5f1d"


def image_item(host, **differs):
    image = host.image
    return {"name": "empty", "ok": True, "path": image.path, "format": image.format, "digest": image.digest,
            "virtual_size_bytes": image.virtual_size_bytes, **differs}  # fmt: skip


def play(host, *options, **arguments):
    """Returns what one task of a playbook registered, and all that Ansible printed with -vvv."""
    task = {"uri": host.uri, "instances_path": str(host.instances), **arguments}
    answer = host.folder / "answer.json"
    tasks = [
        {"name": "Guests", "berth.kvm.guest": task, "register": "answer", "ignore_errors": True},
        {"name": "Keep", "ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": str(answer)},
         "check_mode": False, "no_log": True},
    ]  # fmt: skip
    playbook = host.folder / "play.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Play", "hosts": "h1", "gather_facts": False, "tasks": tasks}]))
    inventory = host.folder / "hosts.yml"
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"h1": variables}}}))
    done = subprocess.run(
        [PLAYBOOK, "-i", str(inventory), "-vvv", str(playbook), *options],
        capture_output=True, text=True, timeout=120, check=False, cwd=host.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(host.folder), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(answer.read_text()), done.stdout + done.stderr


def test_plans_become_guests_and_go_again(guest_host):
    plans = [guest_host.plan("web-1", user_data=f"#cloud-config\npassword: {CANARY}\n"), guest_host.plan("web-2")]
    answer, output = play(guest_host, plans=plans, images=[image_item(guest_host)])
    assert "guests" in answer, answer
    assert [(item["name"], item["state"]) for item in answer["guests"]] == [("web-1", "running"), ("web-2", "running")]
    assert answer["changed"] is True
    assert CANARY not in json.dumps(answer)
    assert CANARY not in output.replace(json.dumps(plans), "")
    again, _output = play(guest_host, plans=plans, images=[image_item(guest_host)])
    assert (again["changed"], again["failed"]) == (False, False)
    targets = [{key: plan[key] for key in ("uuid", "name", "instance_dir", "console_log")} for plan in plans]
    foreseen, _output = play(guest_host, "--check", "--diff", state="absent", guests=targets)
    assert foreseen["changed"] is True
    assert len(guest_host.domains()) == 2
    gone, _output = play(guest_host, state="absent", guests=targets)
    assert gone["changed"] is True
    assert guest_host.domains() == {}
    assert guest_host.files() == []


def test_one_bad_plan_does_not_stop_the_other(guest_host):
    bad, good, bare = (guest_host.plan(name) for name in ("web-1", "web-2", "web-3"))
    plans = [{**bad, "name": "a<b"}, good, {**bare, "image": "none"}]
    answer, _output = play(guest_host, plans=plans, images=[image_item(guest_host)])
    assert answer["failed"] is True
    assert [(item["ok"], item["kind"]) for item in answer["guests"]] == [
        (False, "request"), (True, None), (False, "host")]  # fmt: skip
    assert "a<b" in answer["msg"]
    assert list(guest_host.domains()) == ["web-2"]


@pytest.mark.parametrize("kind", ["host", "request"])
def test_an_image_that_failed_fails_its_guests_in_its_words(guest_host, kind):
    plan = guest_host.plan()
    failed = image_item(guest_host, ok=False, kind=kind, message="digest differs")
    definitions, refused = render([plan], [failed], HostView())
    assert definitions == []
    assert (refused[0]["uuid"], refused[0]["kind"], refused[0]["state"]) == (plan["uuid"], kind, "unknown")
    assert "digest differs" in refused[0]["message"]


def test_a_host_on_tmpfs_gets_a_cache_mode_that_works_there(guest_host):
    facts = {"storage": {"filesystem": "tmpfs"}, "virtualization": {"domain_type": "qemu"}}
    definitions, _refused = render([guest_host.plan()], [image_item(guest_host)], HostView.from_facts(facts))
    assert 'cache="writeback"' in definitions[0]["xml"]


def test_results_come_in_the_order_of_the_plans():
    plans = [{"uuid": "a"}, {"uuid": "b"}, {"uuid": "c"}]
    assert [item["uuid"] for item in in_order(plans, [{"uuid": "c"}, {"uuid": "a"}, {"uuid": "b"}])] == ["a", "b", "c"]
