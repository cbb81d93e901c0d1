# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes guests absent: domain, disks, seed and console log. What is gone already is no failure."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ansible_collections.berth.kvm.plugins.module_utils import guest_domain, guest_files
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Target, target_of
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_steps import ABSENT, FILES, STOP, UNDEFINE, step
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import (
    GONE,
    Options,
    Work,
    accepted,
    for_each,
    guests_locked,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link


def make_absent(given: Sequence[Dict[str, Any]], options: Options) -> List[Work]:
    """Returns what became of each guest, in order. A running guest loses its power: that is what deleting means."""
    works = accepted(given, options, target_of)
    with guests_locked(works, options):
        for_each(works, options, lambda work, link: _remove(work, link, options))
    return works


def _remove(work: Work, link: Link, options: Options) -> None:
    target = work.target
    if target is None:
        return
    found = link.run(lambda connection: _look(connection, target, options))
    work.state = found
    if options.keep_running and found not in (GONE, guest_domain.OFF, guest_domain.CRASHED):
        raise GuestFailure("running", f"guest {work.name}: it is {found}, and only what is off was to be removed")
    work.before = ([f"domain {work.name}: {found}"] if found != GONE else []) + guest_files.present_files(target)
    if options.check_mode:
        work.changed = bool(work.before)
        return
    with step(ABSENT, STOP, work.steps):
        work.changed |= bool(link.run(lambda connection: _power_off(connection, target, options)))
    with step(ABSENT, UNDEFINE, work.steps):
        work.changed |= bool(link.run(lambda connection: _undefine(connection, target, options)))
    work.state = GONE
    with step(ABSENT, FILES, work.steps):
        work.changed |= bool(guest_files.remove_all(target))
    left = guest_files.leftovers(target)
    work.after = [f"{target.instance_dir}/{name}: not the guest's own, left in place" for name in left]


def _look(connection: Any, target: Target, options: Options) -> str:
    return guest_domain.state_of(guest_domain.find_ours(connection, target.uuid, force=options.force))


def _power_off(connection: Any, target: Target, options: Options) -> bool:
    domain = guest_domain.find_ours(connection, target.uuid, force=options.force)
    return domain is not None and guest_domain.power_off(domain)


def _undefine(connection: Any, target: Target, options: Options) -> bool:
    domain = guest_domain.find_ours(connection, target.uuid, force=options.force)
    return domain is not None and guest_domain.undefine(connection, target.uuid)
