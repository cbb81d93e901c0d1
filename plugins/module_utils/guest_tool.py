# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command for one guest. Not module.run_command, which changes the whole process, and we have threads."""

from __future__ import annotations

import subprocess
from typing import List

from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
TIMEOUT_S = 120.0


def run(argv: List[str], what: str) -> str:
    """Returns the command's output. Raises GuestFailure, reason `what`, with the command's last words."""
    try:
        done = subprocess.run(  # noqa: S603  an argv list of our own words and checked paths
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise GuestFailure(what, f"{argv[0]} is not installed on this host; prepare the host") from error
    except subprocess.TimeoutExpired as error:
        raise GuestFailure(
            what, f"{argv[0]} {argv[1]} took more than {TIMEOUT_S:g} s; look at the host's disks"
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise GuestFailure(what, f"{argv[0]} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")
