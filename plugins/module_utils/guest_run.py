# SPDX-License-Identifier: GPL-3.0-or-later
"""What berth.kvm.guest does with its list: the shared part under the host's lock, the slow part in threads."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.berth.kvm.plugins.module_utils import guest_domain, guest_files
from ansible_collections.berth.kvm.plugins.module_utils.guest_check import Present, missing_folder
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import HOST, GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_steps import (
    CHECK,
    DEFINE,
    DISK,
    FILES,
    SEED,
    START,
    STOP,
    UNDEFINE,
    Steps,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import Link, describe
from ansible_collections.berth.kvm.plugins.module_utils.locks import LockError, held, lock_directories

try:
    import libvirt
except ImportError:
    libvirt = None

LOCK = "guests"
LIBVIRT_ERROR = libvirt.libvirtError if libvirt else ()


class Settings:
    """How one call works: the module's parameters."""

    def __init__(self, params, check_mode, tools) -> None:
        self.uri = params["uri"]
        self.instances_path = params["instances_path"]
        self.hard = params["hard"]
        self.force = params["force"]
        self.graceful_timeout_s = params["graceful_timeout_s"]
        self.wait_running_s = params["wait_running_s"]
        self.lock_timeout_s = params["lock_timeout_s"]
        self.threads = params["threads"] or os.cpu_count() or 1
        self.check_mode = check_mode
        self.tools = tools


class Item:
    """One guest of the list and what became of it."""

    def __init__(self, guest, verb) -> None:
        self.guest = guest
        self.steps = Steps(verb)
        self.changed = False
        self.failure = None
        self.host_key = None
        self.state = guest_domain.ABSENT
        self.lines = []
        self.made = []

    def attempt(self, work):
        """Runs work(); a failure is kept in the item. Returns whether it went well."""
        try:
            work()
        except GuestFailure as failure:
            self.failure = failure
        except LIBVIRT_ERROR as error:
            self.failure = GuestFailure("libvirt", "guest %s: %s" % (self.guest["name"], describe(error)))
        except OSError as error:
            reason = "disk_full" if error.errno == 28 else "files"
            self.failure = GuestFailure(reason, "guest %s: %s" % (self.guest["name"], error))
        return self.failure is None

    def result(self):
        """Returns the guest's part of the module's answer (docs/data.md, section 2)."""
        failure = self.failure
        return {
            "uuid": self.guest["uuid"],
            "name": self.guest["name"],
            "ok": failure is None,
            "changed": self.changed,
            "state": self.state,
            "ssh_host_key": self.host_key,
            "reason": failure.reason if failure else None,
            "kind": failure.kind if failure else None,
            "message": failure.message if failure else None,
            "steps": self.steps.done,
        }


def ensure_present(guests, settings):
    """Makes the guests present and running; returns the items in order."""
    items = [Item(guest, "guest-present") for guest in guests]
    missing = missing_folder(settings.instances_path)
    if missing:
        return _all_failed(items, "instances_path", missing)
    try:
        with held(
            LOCK, directories=lock_directories(settings.instances_path), timeout_s=settings.lock_timeout_s
        ), Link(settings.uri) as link:
            present = link.run(Present)
            for item in items:
                item.attempt(lambda item=item: _prepare(item, present, link, settings))
    except LockError as error:
        return _all_failed(items, "lock", str(error))
    _in_threads([item for item in items if item.failure is None], settings, _start)
    return items


def _all_failed(items, reason, message):
    for item in items:
        item.failure = GuestFailure(reason, "guest %s: %s" % (item.guest["name"], message), HOST)
    return items


def _prepare(item, present, link, settings):
    """Checks and makes one guest up to its definition; undoes what it made when that fails."""
    guest = item.guest
    folder = guest_files.checked_dir(guest, settings.instances_path)
    item.steps.run(CHECK, lambda: present.check(guest, settings.instances_path))
    lacks = link.run(lambda connection: guest_domain.pending(connection, guest))
    if settings.check_mode:
        _foresee(item, folder, lacks)
        return
    try:
        if guest_files.make_folder(folder):
            item.made.append(folder)
        for disk in guest["disks"]:
            if item.steps.run(DISK, lambda disk=disk: guest_files.make_disk(settings.tools, disk, folder, guest)):
                item.made.append(disk["path"])
        made, item.host_key = item.steps.run(
            SEED, lambda: guest_files.make_seed(settings.tools, guest["seed"], folder, guest)
        )
        if made:
            item.made.extend([guest["seed"]["path"], os.path.join(folder, guest_files.PUBLIC_KEY_FILE)])
        item.changed = bool(item.made)
        if lacks is None or lacks:
            item.lines = ["domain: defined"] if lacks is None else lacks
            item.steps.run(DEFINE, lambda: link.run(lambda connection: guest_domain.define(connection, guest)))
            item.changed = True
            if lacks is None:
                item.made.append("domain")
    except (GuestFailure, OSError) + (LIBVIRT_ERROR if isinstance(LIBVIRT_ERROR, tuple) else (LIBVIRT_ERROR,)):
        _undo(item, link)
        raise


def _foresee(item, folder, lacks):
    """Check mode: says what would change."""
    item.host_key = guest_files.host_key(folder)
    item.lines = ["domain: would be defined"] if lacks is None else list(lacks)
    item.changed = bool(item.lines) or not guest_files.is_folder(folder)


def _undo(item, link):
    """Removes what this call made for the guest, and nothing else."""
    guest = item.guest
    if "domain" in item.made:
        domain = link.run(lambda connection: guest_domain.find(connection, guest["uuid"]))
        if domain is not None:
            guest_domain.power_off(domain)
            guest_domain.undefine(domain)
    if guest["instance_dir"] in item.made:
        shutil.rmtree(guest["instance_dir"], ignore_errors=True)
        if guest.get("console_log") and "domain" in item.made and os.path.exists(guest["console_log"]):
            os.unlink(guest["console_log"])
    else:
        for path in item.made:
            if path != "domain" and os.path.exists(path):
                os.unlink(path)
    item.changed = False
    item.state = guest_domain.ABSENT


def _start(item, settings):
    """Starts one guest that is defined."""
    guest = item.guest
    with Link(settings.uri) as link:
        if settings.check_mode:
            domain = link.run(lambda connection: guest_domain.find(connection, guest["uuid"]))
            item.state = guest_domain.state(domain) if domain else guest_domain.ABSENT
            item.changed = item.changed or item.state != "running"
            return
        try:
            started = item.steps.run(
                START,
                lambda: link.run(lambda connection: guest_domain.start(connection, guest, settings.wait_running_s)),
            )
        except GuestFailure:
            _undo(item, link)
            raise
        item.state = "running"
        item.changed = item.changed or started


def ensure_absent(guests, settings):
    """Removes the guests' domains and files; returns the items in order. What is gone already is no failure."""
    items = [Item(guest, "guest-absent") for guest in guests]
    try:
        with held(LOCK, directories=lock_directories(settings.instances_path), timeout_s=settings.lock_timeout_s):
            _in_threads(items, settings, _remove)
    except LockError as error:
        return _all_failed(items, "lock", str(error))
    return items


def _remove(item, settings):
    guest = item.guest
    folder = guest_files.checked_dir(guest, settings.instances_path)
    with Link(settings.uri) as link:
        domain = link.run(lambda connection: guest_domain.find_ours(connection, guest, settings.force))
        if settings.check_mode:
            item.changed = domain is not None or guest_files.is_folder(folder)
            item.lines = ["domain and files: would be removed"] if item.changed else []
            return
        off = item.steps.run(STOP, lambda: domain is not None and guest_domain.power_off(domain))
        undefined = item.steps.run(UNDEFINE, lambda: domain is not None and _undefine(domain))
        removed = item.steps.run(FILES, lambda: guest_files.remove_files(guest, settings.instances_path))
        item.changed = bool(off or undefined or removed)
        item.lines = ["domain and files: removed"] if item.changed else []


def _undefine(domain):
    # A transient domain is gone once its power is off.
    try:
        return guest_domain.undefine(domain)
    except LIBVIRT_ERROR as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def ensure_power(guests, settings, wanted):
    """Starts (`running`), stops (`stopped`) or reboots (`rebooted`) guests that are there; returns the items in order."""
    items = [Item(guest, "guest-power") for guest in guests]
    change = {"running": _power_on, "stopped": _power_down, "rebooted": _reboot}[wanted]
    _in_threads(items, settings, change)
    return items


def _existing(connection, guest, settings):
    domain = guest_domain.find_ours(connection, guest, settings.force)
    if domain is None:
        raise GuestFailure("absent", "guest %s: this host has no domain of its UUID" % guest["name"])
    return domain


def _power_on(item, settings):
    def work(connection):
        domain = _existing(connection, item.guest, settings)
        item.state = guest_domain.state(domain)
        if settings.check_mode:
            item.changed = item.state != "running"
            return
        item.changed = guest_domain.start(connection, item.guest, settings.wait_running_s)
        item.state = guest_domain.state(domain)

    with Link(settings.uri) as link:
        link.run(work)


def _power_down(item, settings):
    def work(connection):
        domain = _existing(connection, item.guest, settings)
        item.state = guest_domain.state(domain)
        if settings.check_mode:
            item.changed = bool(domain.isActive())
            return
        item.changed = guest_domain.shut_down(
            domain, item.guest["name"], settings.graceful_timeout_s, settings.hard
        )
        item.state = guest_domain.state(domain)

    with Link(settings.uri) as link:
        link.run(work)


def _reboot(item, settings):
    """A reboot is a stop and a start: only so does a changed definition count. `hard` cuts the power at once."""

    def work(connection):
        domain = _existing(connection, item.guest, settings)
        item.changed = True
        if settings.check_mode:
            item.state = guest_domain.state(domain)
            return
        if settings.hard:
            guest_domain.power_off(domain)
        else:
            guest_domain.shut_down(domain, item.guest["name"], settings.graceful_timeout_s, False)
        guest_domain.start(connection, item.guest, settings.wait_running_s)
        item.state = guest_domain.state(domain)

    with Link(settings.uri) as link:
        link.run(work)


def _in_threads(items, settings, work):
    """Runs work(item, settings) for all items, about one thread per core; failures stay in the items."""
    if len(items) <= 1:
        for item in items:
            item.attempt(lambda item=item: work(item, settings))
        return
    with ThreadPoolExecutor(max_workers=min(settings.threads, len(items))) as pool:
        list(pool.map(lambda item: item.attempt(lambda: work(item, settings)), items))
