#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A throw-away lab of real hypervisor hosts on this one machine, and the guest images for it.

Environment: LAB_NAME (default main) and LAB_SLOT (0 to 9, default 0) choose a lab; labs in different slots run side
by side. LAB_DIR (default /var/tmp/berth-lab) keeps hosts and caches. See docs/lab.md.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import call
from typing import NoReturn

from lab import images, layout, requirements, rootfs
from lab.archive import SUITES
from lab.cluster import Lab
from lab.host import Host
from lab.shell import LabError


def main() -> int:
    """Run one command; the exit status is 0, that of the command inside, or 1 with one line of text."""
    options = parser().parse_args()
    try:
        if options.command == "image":
            requirements.check(requirements.IMAGES)
            print(images.ensure(options.kind, layout.base_dir(), options.out))
            return 0
        requirements.check(requirements.LAB)
        return run(options, Lab(layout.from_environment()))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"lab: {error.cmd[0]} failed with exit status {error.returncode}", file=sys.stderr)
    return 1


def run(options: argparse.Namespace, lab: Lab) -> int:
    """Carry out one lab command."""
    actions: dict[str, Callable[[], int | None]] = {
        "up": lambda: up(options, lab),
        "down": lab.down,
        "purge": lab.purge,
        "ssh": lambda: ssh(lab.host(options.host), options.argv),
        "exec": lambda: call([*lab.host(options.host).enter_argv(), *options.argv]),
        "power-cut": lambda: lab.host(options.host).power_cut(),
        "power-on": lambda: lab.power_on(options.host),
        "status": lambda: status(lab),
        "inventory": lambda: print(json.dumps(lab.inventory(), indent=2)),
    }
    return actions[options.command]() or 0


def up(options: argparse.Namespace, lab: Lab) -> None:
    """Bring hosts up; an unknown suite is refused before any work."""
    suites = options.suites.split(",") if options.suites else None
    for suite in suites or []:
        rootfs.path(lab.layout.base, suite, "full")
    lab.up(options.count, suites, "bare" if options.bare else "full")


def ssh(host: Host, argv: list[str]) -> NoReturn:
    """Become the ssh client: a terminal, signals and the exit status stay what the user expects."""
    command = host.ssh_argv() + argv
    os.execvp(command[0], command)


def status(lab: Lab) -> None:
    """One line per host."""
    for host in lab.hosts:
        print(host.name, host.ip, host.suite, host.record["flavour"], "running" if host.leader() else "off")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="lab.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot hosts h1 to hN and wait for a login to each")
    up.add_argument("count", type=int, metavar="N")
    up.add_argument("--suites", help=f"comma-separated, one per host, the last repeats; of {', '.join(SUITES)}")
    up.add_argument("--bare", action="store_true", help="hosts without libvirt and QEMU")
    commands.add_parser("down", help="delete the hosts; keep the caches")
    commands.add_parser("purge", help="down, and drop the caches and the guard route when no other lab is up")
    for name, text in (("ssh", "ssh to a host as root"), ("exec", "run a command inside without ssh")):
        entry = commands.add_parser(name, help=text)
        entry.add_argument("host")
        entry.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    for name, text in (("power-cut", "kill every process of the host"), ("power-on", "boot it on the disk it had")):
        commands.add_parser(name, help=text).add_argument("host")
    commands.add_parser("status", help="one line per host: name, address, suite, flavour, state")
    commands.add_parser("inventory", help="an Ansible inventory as JSON")
    image = commands.add_parser("image", help="print the path of a guest image; build it unless it is cached")
    image.add_argument("kind", choices=images.KINDS)
    image.add_argument("out", nargs="?", type=Path, help="copy it there as well")
    return top


if __name__ == "__main__":
    sys.exit(main())
