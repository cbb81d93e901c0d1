# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests as Ansible hosts, read from the cloud's ledger."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: The running guests of a Berth cloud as Ansible hosts
description:
  - Reads the cloud's ledger and gives every running guest as a host, with the jump through its compute host where its
    network is not routed, and with the SSH host key that its boot recorded. An unknown key is never accepted.
  - Every guest is in the group C(guests) and in C(project_NAME), C(host_NAME), C(flavor_NAME), C(zone_NAME) and,
    for each of its metadata, C(meta_KEY_VALUE). What cannot be in a group's name becomes an underscore.
  - The hosts have the variables C(berth_uuid), C(berth_name), C(berth_project), C(berth_host), C(berth_flavor),
    C(berth_image), C(berth_zone), C(berth_metadata), C(berth_addresses), C(berth_vcpus) and C(berth_memory_mib).
  - The file's name must end in C(guests.yml), C(guests.yaml) or C(guests.berth.yml).
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Always V(berth.kvm.guests).
    type: str
    required: true
    choices: [berth.kvm.guests]
  cloud:
    description:
      - The cloud's directory; a relative one counts from the folder of this file.
      - Without it, the folder of this file or the one above it, whichever has a C(berth.yml).
    type: path
  projects:
    description: Only guests of these projects.
    type: list
    elements: str
    default: []
author:
  - The Berth authors
"""

EXAMPLES = r"""
# guests.berth.yml in the cloud's folder; then: ansible -i guests.berth.yml guests -m ansible.builtin.ping
plugin: berth.kvm.guests

---
# In another place, with groups and variables of your own
plugin: berth.kvm.guests
cloud: ../mycloud
projects: [shop]
compose:
  ansible_become: ansible_user != 'root'
keyed_groups:
  - key: berth_image
    prefix: image
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable

from berth import hangup
from berth.cloud import SETTINGS_FILE, Cloud, find_cloud
from berth.errors import BerthError, InvalidInput, Problem
from berth.ledger.store import Ledger
from berth.login import Keyring
from berth.verbs.guest_inventory import GuestHost, guest_inventory

SUFFIXES = ("guests.yml", "guests.yaml", "guests.berth.yml")


def check_keys(path: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises InvalidInput for every key that is no option: Ansible itself would pass over a typo in silence."""
    problems = []
    for key in sorted(set(config) - set(known)):
        near = difflib.get_close_matches(key, known, n=1)
        problems.append(Problem(path, f"unknown option {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")))
    if problems:
        hint = "`ansible-doc -t inventory berth.kvm.guests` lists the options"
        raise InvalidInput.from_problems("guest inventory", problems, hint=hint)


class InventoryModule(BaseInventoryPlugin, Constructable):
    """The plug-in: options in, hosts and groups out; what they are is decided in berth.verbs.guest_inventory."""

    NAME = "berth.kvm.guests"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        config = self._read_config_data(path)
        try:
            check_keys(path, config, self.get_options())
            cloud = find_cloud(self._cloud_folder(Path(path).resolve().parent))
            self._add_guests(cloud)
        except BerthError as error:
            lines = [error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else [])]
            raise AnsibleParserError("\n".join(lines)) from error

    def _cloud_folder(self, here: Path) -> Path:
        given = self.get_option("cloud")
        if given:
            return here / Path(given).expanduser()
        return next((folder for folder in (here, here.parent) if (folder / SETTINGS_FILE).is_file()), here)

    def _add_guests(self, cloud: Cloud) -> None:
        projects = set(self.get_option("projects"))
        keyring = Keyring.of(cloud.path)
        with Ledger.open(cloud.ledger_url, create=False) as ledger:
            everyone, hosts = ledger.guests(), ledger.hosts()
        keyring.keep_only(guest.uuid for guest in everyone)
        guests = [guest for guest in everyone if not projects or guest.project in projects]
        found = guest_inventory(guests, hosts, keyring.known_hosts, hangup.launcher())
        for reason in found.left_out:
            self.display.warning(f"left out of the inventory: {reason}")
        for host in found.hosts:
            self._add(host)

    def _add(self, host: GuestHost) -> None:
        strict = self.get_option("strict")
        self.inventory.add_host(host.name)
        for group in host.groups:
            self.inventory.add_host(host.name, self.inventory.add_group(self._sanitize_group_name(group)))
        for name, value in host.variables.items():
            self.inventory.set_variable(host.name, name, value)
        variables = self.inventory.hosts[host.name].vars
        self._set_composite_vars(self.get_option("compose"), variables, host.name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host.name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host.name, strict=strict)
