# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes guests present: defined and running. What exists is kept; what this call made is removed when it fails.

Check and define happen under the host's lock, so that two calls never promise the same memory; the start, which takes
most of the time, happens outside of it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, List, Sequence

from ansible_collections.berth.kvm.plugins.module_utils import guest_domain, guest_files, guest_seed
from ansible_collections.berth.kvm.plugins.module_utils.domain_diff import differences, keep_machine
from ansible_collections.berth.kvm.plugins.module_utils.guest_check import Presence
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Definition, definition_of
from ansible_collections.berth.kvm.plugins.module_utils.guest_steps import (
    CHECK,
    DEFINE,
    DISK,
    PRESENT,
    SEED,
    START,
    step,
)
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import (
    GONE,
    UNKNOWN,
    Options,
    Work,
    accepted,
    attempt,
    failure_of,
    for_each,
    guests_locked,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link
from ansible_collections.berth.kvm.plugins.module_utils.locks import HOST_LOCK


def make_present(given: Sequence[Dict[str, Any]], options: Options) -> List[Work]:
    """Returns what became of each guest, in order. Guests that failed have not changed the host.

    Raises libvirtError when libvirt is not to be reached, LockError when another call holds the host for too long: then
    nothing was made, and nothing is known of the guests.
    """
    works = accepted(given, options, definition_of)
    with guests_locked(works, options):
        with contextlib.nullcontext() if options.check_mode else options.lock(HOST_LOCK):
            with Link(options.uri) as link:
                presence = link.run(Presence.read)
                for work in works:
                    if work.failure is None:
                        attempt(work, _check, work, presence)
            for_each(works, options, _foresee if options.check_mode else _undoing(_prepare))
        if not options.check_mode:
            for_each(works, options, _undoing(lambda work, link: _start(work, link, options)))
    return works


def _check(work: Work, presence: Presence) -> None:
    guest = _definition(work)
    mine = presence.find(guest.uuid)
    work.state = mine["state"] if mine else GONE
    with step(PRESENT, CHECK, work.steps):
        presence.check(guest)


def _undoing(act: Callable[[Work, Link], None]) -> Callable[[Work, Link], None]:
    """Returns act, after whose failure everything that this call made for the guest is removed again."""

    def guarded(work: Work, link: Link) -> None:
        failure = failure_of(work, act, work, link)
        if failure is None:
            return
        work.failure = failure
        while work.undo:
            left = failure_of(work, work.undo.pop(), link)
            if left is not None:
                failure.message += f"; and what was made for it could not be removed: {left.message}"
        work.changed = False
        work.state = UNKNOWN
        attempt(work, link.run, lambda connection: _read_state(work, connection))
        work.failure = failure

    return guarded


def _read_state(work: Work, connection: Any) -> None:
    work.state = guest_domain.state_of(guest_domain.find(connection, _definition(work).uuid))


def _prepare(work: Work, link: Link) -> None:
    guest = _definition(work)
    with step(PRESENT, DISK, work.steps):
        _make_disks(work, guest)
    with step(PRESENT, SEED, work.steps):
        _make_seed(work, guest)
    with step(PRESENT, DEFINE, work.steps):
        link.run(lambda connection: _define(work, guest, connection))


def _make_disks(work: Work, guest: Definition) -> None:
    os.makedirs(os.path.dirname(str(guest.console_log)), mode=guest_files.FOLDER_MODE, exist_ok=True)
    if guest_files.make_folder(guest.folder):
        work.undo.append(lambda _link: os.rmdir(guest.folder))
    guest_files.remove_parts(guest.folder)
    work.undo.append(lambda _link: guest_files.remove_parts(guest.folder))
    for disk in guest.disks:
        if guest_files.make_disk(disk):
            work.undo.append(lambda _link, path=disk.path: os.unlink(path))
            work.changed = True


def _make_seed(work: Work, guest: Definition) -> None:
    path = guest.seed["path"]
    if os.path.lexists(path):
        work.ssh_host_key = guest_seed.read_public_key(path)
        return
    work.ssh_host_key = guest_seed.make_seed(guest.seed, guest.name)
    work.undo.append(lambda _link: os.unlink(path))
    work.changed = True


def _define(work: Work, guest: Definition, connection: Any) -> None:
    domain = guest_domain.find(connection, guest.uuid)
    if domain is None:
        work.after = guest.xml.splitlines()
        # Before the call: when its answer is lost, the domain may be there all the same.
        work.undo.append(lambda link: _remove_domain(guest, link))
        domain = guest_domain.define(connection, guest.xml)
        work.changed = True
        work.state = guest_domain.OFF
    else:
        found = guest_domain.inactive_xml(domain)
        if _compare(work, guest, found):
            guest_domain.define(connection, keep_machine(guest.xml, found))
            work.changed = True
            work.pending_restart = bool(domain.isActive())
        _compare_autostart(work, guest, domain)
    if guest_domain.set_autostart(domain, guest.autostart):
        work.changed = True


def _compare(work: Work, guest: Definition, found: str) -> bool:
    """Returns whether the domain differs from its definition; the work's diff tells how."""
    differs = differences(guest.xml, found)
    work.before = [f"{item.path} = {item.found}" for item in differs if item.found is not None]
    work.after = [f"{item.path} = {item.wanted}" for item in differs if item.wanted is not None]
    return bool(differs)


def _compare_autostart(work: Work, guest: Definition, domain: Any) -> None:
    """Adds to the work's diff what differs beside the definition."""
    found = bool(domain.autostart())
    if found != guest.autostart:
        work.before.append(f"autostart = {found}")
        work.after.append(f"autostart = {guest.autostart}")


def _remove_domain(guest: Definition, link: Link) -> None:
    def remove(connection: Any) -> None:
        domain = guest_domain.find(connection, guest.uuid)
        if domain is not None:
            guest_domain.power_off(domain)
            guest_domain.undefine(connection, guest.uuid)

    link.run(remove)
    nvram = os.path.join(guest.folder, "nvram.fd")
    if os.path.lexists(nvram):
        os.unlink(nvram)
    guest_files.remove_console_log(guest.console_log)


def _start(work: Work, link: Link, options: Options) -> None:
    guest = _definition(work)
    with step(PRESENT, START, work.steps):
        if link.run(lambda connection: guest_domain.start(connection, guest.uuid, guest.name, options.wait_running_s)):
            work.changed = True
            work.pending_restart = False
    work.state = guest_domain.RUNNING


def _foresee(work: Work, link: Link) -> None:
    """Check mode: says what would change, and reads only."""
    guest = _definition(work)
    domain = link.run(lambda connection: guest_domain.find(connection, guest.uuid))
    if domain is None:
        work.after = guest.xml.splitlines()
    else:
        found = link.run(lambda connection: guest_domain.inactive_xml(guest_domain.find(connection, guest.uuid)))
        work.pending_restart = _compare(work, guest, found) and work.state == guest_domain.RUNNING
        link.run(lambda connection: _compare_autostart(work, guest, guest_domain.find(connection, guest.uuid)))
    files = [disk.path for disk in guest.disks] + [guest.seed["path"]]
    missing = [path for path in files if not os.path.lexists(path)]
    if guest.seed["path"] not in missing:
        work.ssh_host_key = guest_seed.read_public_key(guest.seed["path"])
    work.changed = bool(missing or work.before or work.after) or work.state != guest_domain.RUNNING


def _definition(work: Work) -> Definition:
    if not isinstance(work.target, Definition):
        raise TypeError(f"guest {work.name} was not checked")
    return work.target
