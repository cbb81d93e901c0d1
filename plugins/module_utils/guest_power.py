# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, stops and reboots guests that are there."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Sequence

from ansible_collections.berth.kvm.plugins.module_utils import guest_domain
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Target, target_of
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import (
    GONE,
    Act,
    Options,
    Work,
    accepted,
    attempt,
    for_each,
    guests_locked,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link

RUN, STOP, REBOOT = "running", "stopped", "rebooted"
# A guest that is still booting does not notice its power button, so it is pressed again.
PRESS_AGAIN_S = 5.0
POLL_S = 0.1


def set_power(given: Sequence[Dict[str, Any]], state: str, options: Options) -> List[Work]:
    """Returns what became of each guest, in order. `state` is running, stopped or rebooted.

    A reboot is off and on again, which is when a changed definition counts.
    """
    works = accepted(given, options, target_of)
    with guests_locked(works, options):
        for_each(works, options, lambda work, link: _look(work, link, state, options))
        changing = [work for work in works if work.failure is None and work.changed]
        if options.check_mode:
            for work in changing:
                _tell(work, work.state, state)
        elif state == STOP or (state == REBOOT and not options.hard):
            _shut_down(changing, options, lambda work, link: _change(work, link, state, options))
        else:
            for_each(changing, options, lambda work, link: _change(work, link, state, options))
    return works


def _look(work: Work, link: Link, state: str, options: Options) -> None:
    """Reads the guest's state, and whether it has to change."""
    target = _target(work)
    work.state = link.run(lambda connection: _state(connection, target, options))
    if work.state == GONE:
        raise GuestFailure("absent", f"guest {work.name}: this host has no domain with its UUID {target.uuid}")
    enough = {RUN: (guest_domain.RUNNING,), STOP: (guest_domain.OFF, guest_domain.CRASHED), REBOOT: ()}
    work.changed = work.state not in enough[state]


def _shut_down(works: Sequence[Work], options: Options, then: Act) -> None:
    """Asks all guests to shut down; calls `then` for each when it is off, or when the time for all of them is up.

    They are waited for together, however few threads there are: a thread that waits for one guest after the other would
    take the whole time for each that does not listen.
    """
    deadline = time.monotonic() + options.graceful_timeout_s
    press_at = 0.0
    waiting = list(works)
    with Link(options.uri) as link:
        while waiting:
            on: List[Work] = []
            off: List[Work] = []
            for work in waiting:
                attempt(work, _sort, work, link, on, off)
            now = time.monotonic()
            if now >= press_at:
                for_each(on, options, _press)
                press_at = now + PRESS_AGAIN_S
            is_late = now >= deadline
            for_each([*off, *on] if is_late else off, options, then)
            waiting = [] if is_late else [work for work in on if work.failure is None]
            if waiting:
                time.sleep(POLL_S)


def _sort(work: Work, link: Link, on: List[Work], off: List[Work]) -> None:
    uuid = _target(work).uuid
    domain_is_on = link.run(lambda connection: _is_on(guest_domain.find(connection, uuid)))
    (on if domain_is_on else off).append(work)


def _is_on(domain: Any) -> bool:
    return domain is not None and bool(domain.isActive())


def _press(work: Work, link: Link) -> None:
    uuid = _target(work).uuid
    link.run(lambda connection: guest_domain.press(connection, uuid))


def _change(work: Work, link: Link, state: str, options: Options) -> None:
    """Makes the guest what it shall be; one that is to go off has had its time to do so by itself."""
    target, before = _target(work), work.state
    try:
        if state != RUN:
            link.run(lambda connection: _off(connection, target, options))
        if state != STOP:
            link.run(
                lambda connection: guest_domain.start(connection, target.uuid, target.name, options.wait_running_s)
            )
    finally:
        work.state = link.run(lambda connection: _state(connection, target, options))
    _tell(work, before, state)


def _tell(work: Work, before: str, state: str) -> None:
    work.before = [f"state = {before}"]
    work.after = [f"state = {guest_domain.OFF if state == STOP else guest_domain.RUNNING}"]


def _off(connection: Any, target: Target, options: Options) -> None:
    domain = guest_domain.find_ours(connection, target.uuid, force=options.force)
    if domain is None:
        raise GuestFailure("absent", f"guest {target.name}: its domain has gone meanwhile")
    if domain.isActive() and not options.hard:
        raise GuestFailure(
            "timeout",
            f"guest {target.name} is still on {options.graceful_timeout_s:g} s after it was asked to shut down; "
            "wait longer, or cut its power with hard",
        )
    guest_domain.power_off(domain)


def _state(connection: Any, target: Target, options: Options) -> str:
    return guest_domain.state_of(guest_domain.find_ours(connection, target.uuid, force=options.force))


def _target(work: Work) -> Target:
    if work.target is None:
        raise TypeError(f"guest {work.name} was not checked")
    return work.target
