# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts roles/host takes for copies of one machine."""

import base64
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
VALIDATE = yaml.safe_load((ROOT / "roles/host/tasks/validate.yml").read_text())
REFUSAL = next(task for task in VALIDATE if task["name"] == "Refuse two hosts with one machine id")
PREPARE = (ROOT / "playbooks/host_prepare.yml").read_text()
A, B = "a" * 32, "b" * 32
# machine ids of the hosts in the run, what is known, and the twins of h1
CASES = {
    "alone": ({"h1": A}, {}, []),
    "itself, as it was": ({"h1": A}, {"h1": A}, []),
    "two in the run": ({"h1": A, "h2": A}, {}, ["h2"]),
    "one that is not in the run": ({"h1": A}, {"h2": A, "h3": B}, ["h2"]),
    "one of each": ({"h1": A, "h2": A}, {"h3": A}, ["h2", "h3"]),
    "one that was mended since": ({"h1": A, "h2": B}, {"h2": A}, []),
    "one in the run that is not read yet": ({"h1": A, "h2": None}, {}, []),
}


def shown(name, machine_id):
    content = {} if machine_id is None else {"content": base64.b64encode(f"{machine_id}\n".encode()).decode()}
    return {"inventory_hostname": name, "_host_machine_id": content}


@pytest.mark.parametrize(("run", "known", "twins"), CASES.values(), ids=CASES)
def test_twins(run, known, twins):
    hosts = {name: shown(name, machine_id) for name, machine_id in run.items()}
    texts = {name: trust_as_template(text) for name, text in REFUSAL["vars"].items()}
    variables = {
        **hosts["h1"], **texts, "hostvars": hosts, "ansible_play_hosts": list(run), "berth_host_known_machines": known,
    }  # fmt: skip
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(trust_as_template("{{ _host_twins }}")) == twins
    if twins:
        said = templar.template(trust_as_template(REFUSAL["ansible.builtin.assert"]["fail_msg"]))
        assert said.startswith(f"hosts h1 and {' and '.join(twins)} have the same machine id {A}, as images")


def test_the_playbook_tells_the_role_what_is_known():
    defaults = yaml.safe_load((ROOT / "roles/host/defaults/main.yml").read_text())
    assert (
        defaults["berth_host_known_machines"] == {}
        and 'berth_host_known_machines: "{{ _prepared.machines }}"' in PREPARE
    )
