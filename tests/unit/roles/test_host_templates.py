# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles/host writes in every mode, rendered by Ansible itself. The modular daemons are tested only here.

Each case is a host of one play, so that one start of Ansible renders all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "host"
CASES = yaml.safe_load(Path(__file__).with_name("host_templates.yml").read_text())
UNITS = CASES["units"]
FLEET = [
    {"name": "h1", "address": "10.0.0.11", "certificate_name": "h1", "names": ["h1"], "addresses": ["10.0.0.11"]},
    {"name": "h2", "address": "fd00::12", "certificate_name": "h2", "names": ["h2"], "addresses": ["fd00::12"]},
    {"name": "h3", "address": "10.0.0.13", "certificate_name": "h3", "names": ["h3"], "addresses": ["10.0.0.13"]},
]
REFRESH = yaml.safe_load((ROOT / "playbooks" / "host_refresh.yml").read_text())[0]["tasks"][0]["berth.kvm.host_facts"]
TEMPLATES = sorted(path.name for path in (ROLE / "templates").iterdir())
# One file per host, each template after a line of its name: a task per template would take a minute.
PLAY = """
- hosts: cases
  connection: local
  gather_facts: false
  vars_files:
    - {role}/vars/main.yml
    - {role}/vars/Debian.yml
  tasks:
    - ansible.builtin.copy:
        content: |
          {{% for name in {templates} if name != 'socket.conf.j2' or _host_plan.port_socket != '' %}}
          === {{{{ name }}}}
          {{{{ lookup('ansible.builtin.template', '{role}/templates/' ~ name) }}}}
          {{%- endfor %}}

          === plan
          {{{{ _host_plan | to_json }}}}
          === address
          {address}
        dest: "{folder}/{{{{ inventory_hostname }}}}"
        mode: "0600"
      vars:
        _host_self: "{{{{ (_host_fleet | selectattr('name', 'eq', self_name | default('h1')) | first) }}}}"
        _host_knows_shared: true
        ansible_managed: Ansible managed
        _host_plan: >-
          {{{{ unit_files | berth.kvm.daemon_plan('', berth_host_transport, berth_host_daemon,
          berth_host_listen_mode) }}}}
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Returns case -> template -> text."""
    folder = tmp_path_factory.mktemp("rendered")
    keys = {"_host_ssh_public": ["ssh-ed25519 AAAAclient berth", "ssh-ed25519 AAAAhost root@host"]}
    common = {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        "ansible_python_interpreter": sys.executable,
        "ansible_facts": {"architecture": "x86_64", "os_family": "Debian"},
        "_host_fleet": FLEET,
        "_host_lines": CASES["lines"],
    }
    cases = {
        name: {**case.get("vars", {}), "unit_files": UNITS[case["units"]]} for name, case in CASES["cases"].items()
    }
    inventory = {
        "all": {"vars": common},
        "cases": {"hosts": cases},
        "fleet": {"hosts": {"h1": keys, "h2": keys, "h3": {}}},  # h3 is not in this run
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    address = REFRESH["migration_address"].replace("omit", "'left out'")
    play = PLAY.format(role=ROLE, folder=folder, templates=json.dumps(TEMPLATES), address=address)
    (folder / "play.yml").write_text(play)
    (folder / "ansible.cfg").write_text("[defaults]\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.json", "play.yml"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {name: re.split(r"^=== (.*)\n", (folder / name).read_text(), flags=re.MULTILINE)[1:] for name in cases}
    return {name: dict(zip(each[::2], each[1::2], strict=True)) for name, each in parts.items()}


def expectations():
    for name, case in CASES["cases"].items():
        for template, wanted in case["files"].items():
            yield pytest.param(name, template, wanted, id=f"{name}: {template}")


@pytest.mark.parametrize(("case", "template", "wanted"), list(expectations()))
def test_files(rendered, case, template, wanted):
    text = rendered[case][f"{template}.j2"]
    for line in wanted.get("has", []):
        assert line in text.splitlines(), text
    for word in wanted.get("has_not", []):
        assert word not in text


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, case in CASES["cases"].items() if "plan" in case])
def test_plans(rendered, name, case):
    plan = json.loads(rendered[name]["plan"])
    assert {key: plan[key] for key in case["plan"]} == case["plan"]


def test_a_refresh_tells_the_migration_address_that_the_role_takes(rendered):
    """Without one in the inventory it is left to the host, which then tells that of its default route."""
    told = {name: rendered[name]["address"].strip() for name in CASES["cases"]}
    assert told == {name: case.get("address", "left out") for name, case in CASES["cases"].items()}


@pytest.mark.parametrize("name", list(CASES["cases"]))
def test_configuration_is_in_libvirts_form(rendered, name):
    """One `key = value` per line; a list may span lines (libvirtd.conf's own comments)."""
    form = re.compile(r'(#.*|\w+ = ("[^"]*"|\d+)|\w+ = \[\n(  "[^"]*",?\n)*\])\n')
    for template in ("daemon.conf", "qemu.conf"):
        assert form.sub("", rendered[name][f"{template}.j2"]).strip() == ""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft")
@pytest.mark.parametrize("name", list(CASES["cases"]))
def test_firewall_rules_are_accepted_by_nft(rendered, name):
    rules = rendered[name]["firewall.nft.j2"]
    done = subprocess.run(["nft", "--check", "-f", "-"], input=rules, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_case_exists_for_every_template():
    tested = {template for case in CASES["cases"].values() for template in case["files"]}
    assert {name.removesuffix(".j2") for name in TEMPLATES} == tested


def test_the_daemon_is_changed_in_the_plans_order():
    tasks = yaml.safe_load((ROLE / "tasks" / "daemon_restart.yml").read_text())
    order = [re.search(r"_host_plan\.(\w+)", task["loop"]).group(1) for task in tasks if "loop" in task]
    assert order == ["halt", "disable", "unmask", "enable", "mask", "start"]


def test_guests_are_never_stopped_by_the_role():
    """Restarting libvirt-guests shuts guests down: nothing may."""
    for path in (ROLE / "tasks").iterdir():
        for task in yaml.safe_load(path.read_text()):
            unit = task.get("ansible.builtin.systemd_service", {})
            if unit.get("name") == "libvirt-guests.service":
                assert unit["state"] == "started"
