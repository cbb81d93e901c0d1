# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole: bring it up, take it down, describe it to Ansible."""

import json
import shutil
from pathlib import Path
from typing import Any

from lab import host, layout, network, rootfs
from lab.host import Host
from lab.layout import MAX_HOSTS, Layout
from lab.shell import LabError, locked, run, say


class Lab:
    """A set of hosts with one network, one key and one shared folder."""

    def __init__(self, its: Layout) -> None:
        self.layout = its

    @property
    def hosts(self) -> list[Host]:
        """The hosts that exist, in order."""
        return [each for each in host.existing(self.layout) if each.exists]

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: names, keys and known host keys of all hosts."""
        return self.layout.ssh_config

    def host(self, name: str) -> Host:
        """The host of that name; LabError if there is none."""
        return host.named(self.layout, name)

    def up(self, count: int, suites: list[str] | None = None, flavour: str = "full") -> None:
        """Guarantee `count` running hosts that accept a login; host i has the i-th suite, the last one repeats.

        Hosts that are there stay as they are, and without `suites` keep the suite they have.
        """
        if not 1 <= count <= MAX_HOSTS:
            raise LabError(f"{count} hosts: between 1 and {MAX_HOSTS} are possible")
        with locked(self._lock):
            self._prepare()
            wanted = [Host(self.layout, f"h{i}") for i in range(1, count + 1)]
            for index, each in enumerate(wanted):
                suite = suites[min(index, len(suites) - 1)] if suites else None
                self._ensure(each, suite, flavour)
            for each in wanted:
                each.start()
            self._write_client_files()
            for each in wanted:
                each.wait_for_login()
        host.report(wanted)

    def down(self) -> None:
        """Delete the hosts and everything of this lab; the caches and the guard route stay."""
        with locked(self._lock):
            for each in host.existing(self.layout):
                each.destroy()
            network.proxy_down(self.layout)
            network.down(self.layout)
            shutil.rmtree(self.layout.dir, ignore_errors=True)

    def purge(self) -> None:
        """`down`, then, when no other lab is up, the caches and the guard route too."""
        self.down()
        others = layout.recorded_slots(self.layout.base)
        if others:
            say(f"caches and guard route stay: lab {', '.join(sorted(others))} is up")
            return
        shutil.rmtree(self.layout.base, ignore_errors=True)
        network.unguard()

    def power_on(self, name: str) -> None:
        """Boot a host whose power was cut and wait for a login."""
        each = self.host(name)
        with locked(self._lock):
            self._prepare()
        each.power_on()

    def inventory(self) -> dict[str, Any]:
        """An Ansible inventory: the hosts in group `compute`."""
        variables = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F {self.layout.ssh_config}",
        }
        hosts = {each.name: {"ansible_host": each.ip, "berth_migration_address": each.ip} for each in self.hosts}
        return {"compute": {"hosts": hosts, "vars": variables}}

    def write_inventory(self, target: Path) -> Path:
        """Write the inventory to a file that ends in .json or .yml; returns its path."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self.inventory(), indent=2) + "\n")
        return target

    @property
    def _lock(self) -> Path:
        return self.layout.base / "locks" / f"{self.layout.name}.lock"

    def _prepare(self) -> None:
        its = self.layout
        its.hosts_dir.mkdir(parents=True, exist_ok=True)
        (its.dir / "slot").write_text(f"{its.slot}\n")
        its.shared.mkdir(exist_ok=True)
        its.shared.chmod(0o1777)
        with locked(its.base / "locks" / "key.lock"):
            if not its.key.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "berth-lab", "-f", its.key)
        network.up(its)
        network.proxy_up(its)

    def _ensure(self, each: Host, suite: str | None, flavour: str) -> None:
        if not each.exists:
            suite = suite or "bookworm"
            each.create(suite, flavour, rootfs.ensure(self.layout.base, suite, flavour))
            return
        record = each.record
        if suite not in (None, record["suite"]) or flavour != record["flavour"]:
            raise LabError(
                f"{each.name} is there as {record['suite']} {record['flavour']}, wanted is "
                f"{suite or record['suite']} {flavour}: run 'lab.py down' first"
            )

    def _write_client_files(self) -> None:
        its, hosts = self.layout, self.hosts
        its.known_hosts.write_text(
            "".join(
                f"{each.name},{each.ip} " + (each.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
                for each in hosts
            )
        )
        its.ssh_config.write_text(
            "".join(f"Host {each.name} {each.ip}\n  HostName {each.ip}\n" for each in hosts)
            + f"Host *\n  User root\n  IdentityFile {its.key}\n  IdentitiesOnly yes\n"
            + f"  UserKnownHostsFile {its.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
            + "  StrictHostKeyChecking yes\n  HostKeyAlgorithms ssh-ed25519\n  BatchMode yes\n  LogLevel ERROR\n"
        )
