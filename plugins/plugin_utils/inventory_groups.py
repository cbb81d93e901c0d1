# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as plain data, each group's variables apart: merged into a host, two groups would hide each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.plugins.loader import connection_loader
from ansible.template import Templar
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

COMPUTE = "compute"
PREFIX = "berth_"
AGGREGATE = "berth_aggregate"  # of groups alone: merged into a host it would be wrong
ZONE = "berth_availability_zone"
# How a host is reached: option of the ssh connection plug-in -> the variable that sets it. Nothing of it is secret.
ACCESS = {
    "host": "ansible_host",
    "port": "ansible_port",
    "remote_user": "ansible_user",
    "private_key_file": "ansible_ssh_private_key_file",
    "ssh_common_args": "ansible_ssh_common_args",
    "ssh_extra_args": "ansible_ssh_extra_args",
    "ssh_args": "ansible_ssh_args",
    "ssh_executable": "ansible_ssh_executable",
}
SECRET_WORDS = ("password", "passphrase", "secret", "token")


def inventory_view(loader: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the inventory of a running play as JSON-ready data.

    `compute`: the names of the compute hosts. `hosts`: compute host -> groups, own (the `berth_*` names it sets
    itself), variables (its `berth_*` ones as Ansible merges them) and access. `groups`: group -> hosts (its compute
    hosts, those of its children included), ancestors and vars (its own berth_aggregate and berth_availability_zone,
    before any merge). Both come from the inventory's files and from host_vars and group_vars beside them.
    `problems`: what could not be templated, one line each. Registered results and facts are in none of it, nor is
    anything whose name says that it is secret.
    """
    hostvars = variables["hostvars"]
    reader = _Reader(loader, hostvars)
    compute = reader.inventory.groups.get(COMPUTE)
    hosts = sorted(compute.get_hosts(), key=lambda host: host.name) if compute else []
    return {
        "compute": [host.name for host in hosts],
        "hosts": {host.name: reader.host(host) for host in hosts},
        "groups": {
            name: reader.group(group, {host.name for host in hosts})
            for name, group in sorted(reader.inventory.groups.items())
        },
        "problems": reader.problems,
    }


class _Reader:
    """Reads hosts and groups of one inventory; each group's files are read once."""

    def __init__(self, loader: Any, hostvars: Any) -> None:
        self.loader = loader
        self.hostvars = hostvars
        # Where ansible-inventory looks as well; the manager is in no public variable.
        self.inventory = hostvars._inventory
        self.problems: list[str] = []
        self._own: dict[str, dict[str, Any]] = {}

    def host(self, host: Host) -> dict[str, Any]:
        """Returns one host. A name counts when the inventory sets it; its value is the merged one."""
        known = set(self.own_vars(host)).union(*(self.own_vars(group) for group in host.get_groups()))
        merged = self.hostvars[host.name]
        where = f"host {host.name}"
        return {
            "groups": sorted(group.name for group in host.get_groups() if group.name not in ("all", "ungrouped")),
            "own": sorted(_kept(self.own_vars(host))),
            "variables": self._values(where, merged, _kept(known) - {AGGREGATE}),
            "access": self._values(where, _Access(merged), {"ansible_connection", *ACCESS.values()}),
        }

    def group(self, group: Group, hosts: set[str]) -> dict[str, Any]:
        """Returns one group."""
        own = self.own_vars(group)
        templated = _Templated(Templar(loader=self.loader, variables=own), own)
        return {
            "hosts": sorted(host.name for host in group.get_hosts() if host.name in hosts),
            "ancestors": sorted(ancestor.name for ancestor in group.get_ancestors()),
            "vars": self._values(f"group {group.name}", templated, {AGGREGATE, ZONE}.intersection(own)),
        }

    def own_vars(self, entity: Group | Host) -> dict[str, Any]:
        """Returns what the inventory and its group_vars or host_vars files say of this one group or host."""
        key = f"{type(entity).__name__} {entity.name}"
        if key not in self._own:
            files = get_vars_from_inventory_sources(self.loader, self.inventory._sources, [entity], "all")
            own = entity.vars if isinstance(entity, Host) else entity.get_vars()
            self._own[key] = combine_vars(own, files)
        return self._own[key]

    def _values(self, where: str, values: Any, names: set[str]) -> dict[str, Any]:
        found = {}
        for name in sorted(names):
            try:
                found[name] = json.loads(json.dumps(values[name]))
            except (AnsibleError, TypeError, ValueError) as error:
                first_line = str(error).splitlines()[0]
                self.problems.append(f"{where}: {name}: {first_line}")
        return found


class _Templated:
    """Values that are templated when they are read."""

    def __init__(self, templar: Any, values: Mapping[str, Any]) -> None:
        self._templar = templar
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._templar.template(self._values[name])


class _Access:
    """How a host is reached, by its variables, the environment and ansible.cfg: as the ssh connection decides it."""

    def __init__(self, merged: Mapping[str, Any]) -> None:
        connection_loader.get("ssh", class_only=True)  # so that its options are known
        self._merged = merged
        self._options = {variable: option for option, variable in ACCESS.items()}

    def __getitem__(self, name: str) -> Any:
        if name not in self._options:
            return self._merged.get(name, constants.DEFAULT_TRANSPORT)
        option = self._options[name]
        return constants.config.get_config_value(
            option, plugin_type="connection", plugin_name="ssh", variables=self._merged
        )


def _kept(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith(PREFIX) and not any(word in name for word in SECRET_WORDS)}
