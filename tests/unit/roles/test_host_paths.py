# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host keeps guests, images and consoles: roles, playbooks and the ledger's plans must agree."""

from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from berth.ledger.rows import HostRow
from berth.verbs.guest_plan import HostPaths

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
KINDS = ("instances", "images", "consoles")
CASES = {
    "nothing is said": ({}, ("/var/lib/berth/instances", "/var/lib/berth/images", "/var/lib/berth/consoles")),
    "the state's folder": (
        {"berth_host_state_path": "/srv/berth"},
        ("/srv/berth/instances", "/srv/berth/images", "/srv/berth/consoles"),
    ),
    "one of them": ({"berth_images_path": "/nfs"}, ("/var/lib/berth/instances", "/nfs", "/var/lib/berth/consoles")),
    "both": (
        {"berth_host_state_path": "/srv/berth", "berth_instances_path": "/fast/i", "berth_consoles_path": "/log/c"},
        ("/fast/i", "/srv/berth/images", "/log/c"),
    ),
}


def options(node):
    """Yields every `instances_path` and the like that a playbook or a role's tasks give to a module."""
    for part in node if isinstance(node, list) else ():
        yield from options(part)
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in [f"{kind}_path" for kind in KINDS] and "berth_" in value and "work" not in value:
            yield key.removesuffix("_path"), value
        yield from options(value)


def said():
    """Returns where a path is said -> its kind and its template; what a role says with its own defaults."""
    found = {}
    for file in sorted((ROOT / "playbooks").glob("*.yml")):
        for number, (kind, template) in enumerate(options(yaml.safe_load(file.read_text()))):
            found[f"{file.name} {number} {kind}"] = (kind, template, {})
    image = yaml.safe_load((ROLES / "image/defaults/main.yml").read_text())
    for kind in ("instances", "images"):
        found[f"role image {kind}"] = (kind, image[f"image_{kind}_path"], {})
    defaults = {"berth_host_state_path": "/var/lib/berth"}
    host = yaml.safe_load((ROLES / "host/vars/main.yml").read_text())
    for kind in KINDS:
        found[f"role host {kind}"] = (kind, host["_host_paths"][kind], defaults)
    return found


def templated(template, variables):
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(template))


SAID = said()


def test_the_role_begins_with_the_default_of_all():
    assert yaml.safe_load((ROLES / "host/defaults/main.yml").read_text())["berth_host_state_path"] == "/var/lib/berth"
    assert len(SAID) >= 12


@pytest.mark.parametrize(("variables", "paths"), CASES.values(), ids=CASES)
def test_every_play_and_the_ledger_have_the_same_places(variables, paths):
    expected = dict(zip(KINDS, paths, strict=True))
    row = HostRow("h1", True, "", True, "", None, None, None, None, None, (), variables, {})
    assert {kind: getattr(HostPaths.of(row), kind) for kind in KINDS} == expected
    found = {where: templated(template, {**more, **variables}) for where, (_kind, template, more) in SAID.items()}
    assert found == {where: expected[kind] for where, (kind, _template, _more) in SAID.items()}


def test_the_host_role_uses_them_for_folders_and_pool():
    folders = (ROLES / "host/tasks/folders.yml").read_text()
    assert "_host_paths" in folders and "_host_paths.instances" in (ROLES / "host/tasks/objects.yml").read_text()
