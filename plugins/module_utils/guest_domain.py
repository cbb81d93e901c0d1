# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's domain: looked up by UUID, defined, started, stopped, undefined. Every wait is bounded."""

from __future__ import annotations

import re
import time

from ansible_collections.berth.kvm.plugins.module_utils.domain_diff import differences
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.host_domains import STATES, described
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import describe

try:
    import libvirt
except ImportError:
    libvirt = None

POLL_S = 0.1
POWER_OFF_S = 30.0
QEMU_LOG_LINES = 3
ABSENT = "absent"


def find(connection, uuid):
    """Returns the domain of that UUID, or None."""
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_ours(connection, guest, force=False):
    """Returns the guest's domain, or None. Raises GuestFailure for one of that UUID without our record, unless forced."""
    domain = find(connection, guest["uuid"])
    if domain is None or force:
        return domain
    if described(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))["record"] is None:
        message = "guest %s: domain %s of this host has its UUID and no record of Berth; nothing was changed" % (
            guest["name"],
            domain.name(),
        )
        raise GuestFailure("foreign", message)
    return domain


def state(domain):
    """Returns the domain's state in the words of the facts."""
    return STATES.get(domain.state(0)[0], "nostate")


def pending(connection, guest):
    """Returns what the guest's domain lacks of its definition, one line each; None when there is no domain."""
    domain = find(connection, guest["uuid"])
    if domain is None:
        return None
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return differences(guest["xml"], domain.XMLDesc(flags))


def define(connection, guest):
    """Defines the guest, autostart as it asks for. Raises GuestFailure with libvirt's message."""
    try:
        domain = connection.defineXMLFlags(guest["xml"], libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        wanted = 1 if guest.get("autostart") else 0
        if domain.autostart() != wanted:
            domain.setAutostart(wanted)
    except libvirt.libvirtError as error:
        raise GuestFailure("define", "guest %s: libvirt refused it: %s" % (guest["name"], describe(error)))
    return domain


def start(connection, guest, wait_running_s):
    """Starts the guest's domain and waits until it runs; returns whether it had to. Raises GuestFailure."""
    domain = connection.lookupByUUIDString(guest["uuid"])
    before = state(domain)
    if before == "running":
        return False
    try:
        if before == "paused":
            domain.resume()
        else:
            domain.create()
    except libvirt.libvirtError as error:
        if state(domain) != "running":
            raise GuestFailure("start", "guest %s did not start: %s" % (guest["name"], describe(error)))
    deadline = time.monotonic() + wait_running_s
    while state(domain) != "running":
        if time.monotonic() > deadline or state(domain) in ("shutdown", "crashed"):
            message = "guest %s did not stay running, it is %s" % (guest["name"], state(domain))
            raise GuestFailure("start", message)
        time.sleep(POLL_S)
    return True


def power_off(domain):
    """Cuts the guest's power; returns whether it was on."""
    if not domain.isActive():
        return False
    try:
        domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_DEFAULT)
    except libvirt.libvirtError as error:
        # It may have ended by itself meanwhile.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
    return True


def shut_down(domain, name, timeout_s, hard):
    """Asks the guest to shut down and waits; returns whether it was on. Cuts the power only when `hard`."""
    if not domain.isActive():
        return False
    if state(domain) == "paused":
        domain.resume()
    deadline = time.monotonic() + timeout_s
    asked_at = None
    while domain.isActive() and time.monotonic() < deadline:
        # A guest that is still starting misses the button: press it again every few seconds.
        if asked_at is None or time.monotonic() - asked_at > 5.0:
            asked_at = time.monotonic()
            _press(domain)
        time.sleep(POLL_S)
    if domain.isActive():
        if not hard:
            message = "guest %s did not shut down within %d s; --hard cuts its power" % (name, timeout_s)
            raise GuestFailure("timeout", message)
        power_off(domain)
    return True


def _press(domain):
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def undefine(domain):
    """Removes the definition with all that could hold it back; returns whether there was one."""
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0)
    )
    for wanted in (flags, flags & ~getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0)):
        try:
            domain.undefineFlags(wanted)
            return True
        except libvirt.libvirtError as error:
            code = error.get_error_code()
            if code == libvirt.VIR_ERR_NO_DOMAIN:
                return False
            # A driver that does not know a flag says so in one of these two ways.
            if code not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
                raise
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
    return True


def plain(text):
    """Returns a text on one line, without control characters."""
    return re.sub(r"\s+", " ", str(text)).strip()
