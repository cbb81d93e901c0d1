# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of guests of one call: what becomes of each, its lock, and the threads that work on all of them."""

from __future__ import annotations

import contextlib
import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Target
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import HERE, HOST, REQUEST, GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link, describe
from ansible_collections.berth.kvm.plugins.module_utils.locks import LockError, held, lock_directories

Check = Callable[[Mapping[str, Any], str], Target]

UNKNOWN = "unknown"
GONE = "absent"


@dataclass(frozen=True)
class Options:
    """How one call works."""

    uri: str
    instances_path: str
    threads: int
    graceful_timeout_s: float
    wait_running_s: float
    lock_timeout_s: float
    hard: bool = False
    force: bool = False
    keep_running: bool = False
    check_mode: bool = False

    def lock(self, name: str) -> "contextlib.AbstractContextManager[str]":
        """Returns the host's lock of that name, to be entered."""
        return held(name, directories=lock_directories(self.instances_path), timeout_s=self.lock_timeout_s)


@dataclass
class Work:
    """One guest of the list and what became of it. `given` is as the module got it, `target` as it was checked."""

    given: Dict[str, Any]
    target: Optional[Target] = None
    state: str = UNKNOWN  # until the domain was looked for
    changed: bool = False
    failure: Optional[GuestFailure] = None
    ssh_host_key: Optional[str] = None
    pending_restart: bool = False
    steps: List[str] = field(default_factory=list)
    before: List[str] = field(default_factory=list)
    after: List[str] = field(default_factory=list)
    undo: List[Callable[[Link], None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Returns the guest's domain name, as it was given."""
        return str(self.given.get("name"))

    def result(self) -> Dict[str, Any]:
        """Returns the guest's part of the module's answer (docs/data.md, section 2)."""
        failure = self.failure
        return {
            "uuid": self.given.get("uuid"),
            "name": self.given.get("name"),
            "ok": failure is None,
            "changed": self.changed,
            "state": self.state,
            "ssh_host_key": self.ssh_host_key,
            "pending_restart": self.pending_restart,
            "reason": failure.reason if failure else None,
            "kind": self._kind(failure) if failure else None,
            "message": failure.message if failure else None,
            "steps": self.steps,
        }

    def diff(self) -> Optional[Dict[str, str]]:
        """Returns Ansible's diff of the guest, None without a difference."""
        if not self.before and not self.after:
            return None
        return {
            "before_header": self.name,
            "after_header": self.name,
            "before": "".join(f"{line}\n" for line in self.before),
            "after": "".join(f"{line}\n" for line in self.after),
        }

    def _kind(self, failure: GuestFailure) -> str:
        """Returns who could help. Another host only when the guest is known not to be on this one (promise P1)."""
        if failure.kind == REQUEST:
            return REQUEST
        return HOST if self.state == GONE else HERE


Act = Callable[[Work, Link], None]


def accepted(given: Sequence[Dict[str, Any]], options: Options, check: Check) -> List[Work]:
    """Returns one work per guest, in order; those whose item does not hold, or comes twice, have failed already."""
    works = [Work(item) for item in given]
    seen: Set[str] = set()
    for work in works:
        attempt(work, _accept, work, options, check, seen)
    return works


def _accept(work: Work, options: Options, check: Check, seen: Set[str]) -> None:
    work.target = check(work.given, options.instances_path)
    if work.target.uuid in seen:
        raise GuestFailure("uuid", f"guest {work.name}: its UUID {work.target.uuid} is in the list twice", REQUEST)
    seen.add(work.target.uuid)


def attempt(work: Work, act: Callable[..., Any], *arguments: Any) -> None:
    """Runs act(*arguments); a failure of this guest is kept in its work."""
    failure = failure_of(work, act, *arguments)
    if failure is not None:
        work.failure = failure


def failure_of(work: Work, act: Callable[..., Any], *arguments: Any) -> Optional[GuestFailure]:
    """Returns how act(*arguments) failed, None when it went well."""
    try:
        act(*arguments)
    except GuestFailure as failure:
        return failure
    except libvirt_conn.libvirt.libvirtError as error:
        return GuestFailure("libvirt", f"guest {work.name}: {describe(error)}")
    except LockError as error:
        return GuestFailure("locked", f"guest {work.name}: {error}")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return GuestFailure("disk_full" if full else "files", f"guest {work.name}: {error}")
    return None


def for_each(works: Sequence[Work], options: Options, act: Act) -> None:
    """Runs act(work, link) for all that have not failed, in threads; each thread has a connection of its own."""
    waiting = [work for work in works if work.failure is None]
    shares = [waiting[start :: options.threads] for start in range(options.threads)]
    shares = [share for share in shares if share]
    if len(shares) < 2:
        _work_on(shares[0] if shares else [], options, act)
        return
    with ThreadPoolExecutor(max_workers=len(shares)) as pool:
        for done in [pool.submit(_work_on, share, options, act) for share in shares]:
            done.result()


def _work_on(share: Sequence[Work], options: Options, act: Act) -> None:
    with Link(options.uri) as link:
        for work in share:
            attempt(work, act, work, link)


@contextlib.contextmanager
def guests_locked(works: Sequence[Work], options: Options) -> Iterator[None]:
    """Holds the lock of every guest for the body, so that two calls never work on one guest at once.

    In one order everywhere, so that two calls never wait for each other. A guest whose lock is not to be had fails.
    """
    with contextlib.ExitStack() as stack:
        for work in sorted((w for w in works if w.failure is None), key=lambda w: str(w.given["uuid"])):
            if not options.check_mode:
                attempt(work, _enter, stack, work, options)
        yield


def _enter(stack: contextlib.ExitStack, work: Work, options: Options) -> None:
    stack.enter_context(options.lock(f"guest-{work.given['uuid']}"))
