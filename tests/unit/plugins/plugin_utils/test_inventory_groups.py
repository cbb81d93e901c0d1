# SPDX-License-Identifier: GPL-3.0-or-later
"""The view of a real inventory, taken inside a real play by the conductor's own means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from berth.verbs.host_refresh import aggregates_from_inventory, check_inventory

HOSTS = """
compute:
  hosts:
    h1: {ansible_host: 10.0.0.1, berth_name: "{{ inventory_hostname }}-x", berth_api_password: hidden}
    h2: {ansible_connection: local, ansible_port: "2200"}
  children:
    rack: {hosts: {h3: {}}}
  vars:
    ansible_user: admin
    ansible_ssh_common_args: "-F {{ inventory_dir }}/ssh_config"
    unrelated: 1
inline:
  hosts: {h1: {}}
  vars: {berth_aggregate: {disk: ssd, only_inline: true}}
files:
  hosts: {h1: {}, h2: {}}
folder:
  hosts: {h1: {}}
zone:
  hosts: {h1: {}, outsider: {}}
  vars: {berth_availability_zone: z1}
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: a registered result}
      register: berth_facts_result
    - berth_view: {}
"""
ACTION = """
import json
from pathlib import Path
from ansible.plugins.action import ActionBase
from ansible_collections.berth.kvm.plugins.plugin_utils.inventory_groups import inventory_view

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        Path("view.json").write_text(json.dumps(inventory_view(self._loader, task_vars)))
        return {"changed": False}
"""


def view(folder: Path, config: str = "", **files: str) -> dict[str, Any]:
    """Returns the inventory view of a cloud whose files are given, path -> content."""
    given = {
        "inventory/hosts.yml": HOSTS,
        "inventory/group_vars/files.yml": "berth_aggregate: {disk: hdd, weight: 3}",
        "inventory/group_vars/folder/a.yml": "berth_aggregate: {disk: '{{ kind }}'}",
        "inventory/group_vars/folder/b.yml": "kind: nvme",
        "inventory/host_vars/h2.yml": "berth_availability_zone: own",
        "play.yml": PLAY,
        "action_plugins/berth_view.py": ACTION,
        "library/berth_view.py": "",
        "ansible.cfg": f"[defaults]\n{config}",
        **files,
    }
    for name, content in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    bin_folder = Path(sys.executable).parent
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder), "ANSIBLE_CONFIG": "ansible.cfg"}
    done = subprocess.run(
        [bin_folder / "ansible-playbook", "-i", "inventory", "play.yml", "-e", "berth_cloud=/x"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "view.json").read_text())
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return view(tmp_path_factory.mktemp("cloud"))


def test_groups_of_one_host_keep_their_own_values(seen: dict[str, Any]) -> None:
    """The point of it all: merged into h1, only one of the three would be left."""
    check_inventory(seen, [])
    assert aggregates_from_inventory(seen) == {
        "inline": {"disk": "ssd", "only_inline": True},
        "files": {"disk": "hdd", "weight": 3},
        "folder": {"disk": "nvme"},
    }
    assert {"inline", "files", "folder", "compute"} <= set(seen["hosts"]["h1"]["groups"])


def test_hosts_are_the_compute_hosts_with_their_children(seen: dict[str, Any]) -> None:
    assert seen["compute"] == ["h1", "h2", "h3"] == sorted(seen["hosts"])
    assert seen["groups"]["compute"]["hosts"] == ["h1", "h2", "h3"]
    assert seen["groups"]["zone"]["hosts"] == ["h1"]
    assert seen["groups"]["rack"]["ancestors"] == ["all", "compute"]


def test_variables_are_merged_and_templated_and_ours_only(seen: dict[str, Any]) -> None:
    assert seen["hosts"]["h1"]["variables"] == {"berth_name": "h1-x", "berth_availability_zone": "z1"}
    assert seen["hosts"]["h2"]["variables"] == {"berth_availability_zone": "own"}
    assert seen["hosts"]["h2"]["own"] == ["berth_availability_zone"]


def test_nothing_secret_nothing_registered_nothing_given(seen: dict[str, Any]) -> None:
    text = json.dumps(seen)
    assert "hidden" not in text and "berth_facts_result" not in text and "berth_cloud" not in text


def test_access_is_what_ansible_itself_would_use(seen: dict[str, Any], tmp_path: Path) -> None:
    one, two = seen["hosts"]["h1"]["access"], seen["hosts"]["h2"]["access"]
    assert (one["ansible_host"], one["ansible_user"], one["ansible_connection"]) == ("10.0.0.1", "admin", "ssh")
    assert one["ansible_ssh_common_args"].endswith("/inventory/ssh_config")
    assert (two["ansible_host"], two["ansible_port"], two["ansible_connection"]) == ("h2", 2200, "local")
    hosts = HOSTS.replace("ansible_user: admin", "nothing: 1")
    config = "remote_user = deploy\nprivate_key_file = /keys/fleet\n[ssh_connection]\nssh_args = -o Compression=yes\n"
    access = view(tmp_path, config, **{"inventory/hosts.yml": hosts})["hosts"]["h3"]["access"]
    assert access["ansible_user"] == "deploy" and access["ansible_ssh_private_key_file"] == "/keys/fleet"
    assert access["ansible_ssh_args"] == "-o Compression=yes"


def test_what_cannot_be_templated_is_a_problem_with_its_place(tmp_path: Path) -> None:
    files = {
        "inventory/hosts.yml": HOSTS.replace("inventory_hostname", "no_such"),
        "inventory/group_vars/files.yml": "berth_aggregate: {disk: '{{ missing }}'}",
    }
    problems = view(tmp_path, **files)["problems"]
    assert len(problems) == 2
    assert problems[0].startswith("host h1: berth_name: ") and "no_such" in problems[0]
    assert problems[1].startswith("group files: berth_aggregate: ") and "missing" in problems[1]


def test_without_compute_there_are_no_hosts(tmp_path: Path) -> None:
    seen = view(tmp_path, **{"inventory/hosts.yml": "other: {hosts: {h1: {}}}"})
    assert seen["compute"] == [] and seen["hosts"] == {}
