# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, stops and reboots guests that are there."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

from ansible_collections.berth.kvm.plugins.module_utils import guest_domain
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Target, target_of
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import (
    GONE,
    Options,
    Work,
    accepted,
    for_each,
    guests_locked,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link

Change = Callable[[Work, Target, Link, Options], None]


def set_power(given: Sequence[Dict[str, Any]], state: str, options: Options) -> List[Work]:
    """Returns what became of each guest, in order. `state` is running, stopped or rebooted."""
    change: Change = {"running": _run, "stopped": _stop, "rebooted": _reboot}[state]
    works = accepted(given, options, target_of)
    with guests_locked(works, options):
        for_each(works, options, lambda work, link: _apply(work, link, options, change))
    return works


def _apply(work: Work, link: Link, options: Options, change: Change) -> None:
    target = work.target
    if target is None:
        return
    work.state = link.run(lambda connection: _state(connection, target, options))
    if work.state == GONE:
        raise GuestFailure("absent", f"guest {work.name}: this host has no domain with its UUID {target.uuid}")
    before = work.state
    try:
        change(work, target, link, options)
    finally:
        if not options.check_mode:
            work.state = link.run(lambda connection: _state(connection, target, options))
    if work.changed:
        work.before = [f"state = {before}"]
        work.after = [f"state = {guest_domain.RUNNING if change is not _stop else guest_domain.OFF}"]


def _run(work: Work, target: Target, link: Link, options: Options) -> None:
    work.changed = work.state != guest_domain.RUNNING
    if work.changed and not options.check_mode:
        link.run(lambda connection: _start(connection, target, options))


def _stop(work: Work, target: Target, link: Link, options: Options) -> None:
    work.changed = work.state not in (guest_domain.OFF, guest_domain.CRASHED)
    if work.changed and not options.check_mode:
        link.run(lambda connection: _shut_down(connection, target, options, cut=options.hard))


def _reboot(work: Work, target: Target, link: Link, options: Options) -> None:
    """Off and on again, which is when a changed definition counts. `hard` cuts the power without asking."""
    work.changed = True
    if options.check_mode:
        return
    if options.hard:
        link.run(lambda connection: guest_domain.power_off(_domain(connection, target, options)))
    else:
        link.run(lambda connection: _shut_down(connection, target, options, cut=False))
    link.run(lambda connection: _start(connection, target, options))


def _start(connection: Any, target: Target, options: Options) -> None:
    guest_domain.start(connection, target.uuid, target.name, options.wait_running_s)


def _shut_down(connection: Any, target: Target, options: Options, *, cut: bool) -> None:
    domain = _domain(connection, target, options)
    if not domain.isActive() or guest_domain.shut_down(domain, options.graceful_timeout_s):
        return
    if not cut:
        raise GuestFailure(
            "timeout",
            f"guest {target.name} is still on {options.graceful_timeout_s:g} s after it was asked to shut down; "
            "wait longer, or cut its power with hard",
        )
    guest_domain.power_off(domain)


def _domain(connection: Any, target: Target, options: Options) -> Any:
    domain = guest_domain.find_ours(connection, target.uuid, force=options.force)
    if domain is None:
        raise GuestFailure("absent", f"guest {target.name}: its domain has gone meanwhile")
    return domain


def _state(connection: Any, target: Target, options: Options) -> str:
    return guest_domain.state_of(guest_domain.find_ours(connection, target.uuid, force=options.force))
