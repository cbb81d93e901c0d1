# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's domain: looked up, defined, started, stopped, undefined. Every wait is bounded.

Each function reads the state anew and is right when half of its work was done before: a connection that broke is
replaced and the call repeated (libvirt_conn.Link).
"""

from __future__ import annotations

import os
import time
from typing import Any, List, Optional

from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import GONE
from ansible_collections.berth.kvm.plugins.module_utils.host_domains import STATES, described
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import describe

try:
    import libvirt
except ImportError:
    libvirt = None

POLL_S = 0.1
LOG_LINES = 5
LOG_BYTES = 8192
RUNNING, PAUSED, OFF, CRASHED = "running", "paused", "shutdown", "crashed"
# The XML files of the guests are theirs alone; NVRAM, snapshots and the like must not outlive the definition.
UNDEFINE_FLAGS = ("MANAGED_SAVE", "SNAPSHOTS_METADATA", "NVRAM", "CHECKPOINTS_METADATA", "TPM")


def find(connection: Any, uuid: str) -> Any:
    """Returns the domain of that UUID, None when there is none."""
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_ours(connection: Any, uuid: str, *, force: bool) -> Any:
    """Returns the guest's domain, None when there is none.

    Raises GuestFailure for a domain of that UUID that does not carry our record, unless `force`.
    """
    domain = find(connection, uuid)
    if domain is not None and not force and described(inactive_xml(domain))["record"] is None:
        name = domain.name()
        raise GuestFailure(
            "foreign",
            f"domain {name} of this host has the UUID {uuid} and no record of Berth; nothing was changed. "
            f"Look at it there: `virsh dumpxml {name}`. If nobody needs it, end it (`virsh destroy {name}`, "
            f"`virsh undefine {name}`) and run this again. If it is the guest, start and stop it by `virsh`, "
            "then `berth sync`",
        )
    return domain


def inactive_xml(domain: Any) -> str:
    """Returns the domain as it starts next time."""
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def state_of(domain: Any) -> str:
    """Returns the domain's state in the words of the facts, `absent` for None."""
    return GONE if domain is None else STATES.get(domain.state(0)[0], "nostate")


def define(connection: Any, xml: str) -> Any:
    """Returns the domain, defined as `xml` says; libvirt checks the XML against its schema."""
    return connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)


def set_autostart(domain: Any, wanted: bool) -> bool:
    """Returns whether it had to be changed that libvirt starts the guest when the host boots."""
    if bool(domain.autostart()) == wanted:
        return False
    domain.setAutostart(int(wanted))
    return True


def start(connection: Any, uuid: str, name: str, wait_running_s: float) -> bool:
    """Returns whether the guest had to be started, once it runs. Raises GuestFailure with QEMU's last words."""
    domain = connection.lookupByUUIDString(uuid)
    before = state_of(domain)
    if before == RUNNING:
        return False
    try:
        domain.resume() if before == PAUSED else domain.create()
    except libvirt.libvirtError as error:
        # Somebody else may have been faster.
        if state_of(domain) != RUNNING:
            raise GuestFailure(
                "start", f"guest {name} did not start: {describe(error)}{_log_tail(connection, name)}"
            ) from error
    _wait_running(connection, domain, name, wait_running_s)
    return True


def _wait_running(connection: Any, domain: Any, name: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        state = state_of(domain)
        if state == RUNNING:
            return
        if state in (OFF, CRASHED) or time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    raise GuestFailure(
        "start",
        f"guest {name} does not run {timeout_s:g} s after its start, it is {state}{_log_tail(connection, name)}",
    )


def power_off(domain: Any) -> bool:
    """Returns whether the guest was on; it is off now, without having been asked."""
    if not domain.isActive():
        return False
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        # It may have ended by itself meanwhile.
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise
    return True


def press(connection: Any, uuid: str) -> None:
    """Presses the power button of a guest, if it is on."""
    domain = find(connection, uuid)
    if domain is None:
        return
    try:
        if state_of(domain) == PAUSED:
            domain.resume()
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def undefine(connection: Any, uuid: str) -> bool:
    """Returns whether there was a definition; it is gone, with NVRAM, snapshot metadata and saved state.

    Raises GuestFailure when the domain is still there afterwards.
    """
    domain = find(connection, uuid)
    if domain is None:
        return False
    if domain.isPersistent():
        _undefine(domain)
    left = find(connection, uuid)
    if left is not None and not left.isPersistent():
        # It was started between the two: without a definition it ends with its power.
        power_off(left)
        left = find(connection, uuid)
    if left is not None:
        raise GuestFailure("undefine", f"domain {left.name()} is still defined; look at `virsh dominfo {uuid}`")
    return True


def _undefine(domain: Any) -> None:
    flags = [getattr(libvirt, f"VIR_DOMAIN_UNDEFINE_{name}", 0) for name in UNDEFINE_FLAGS]
    # The last one is the youngest (libvirt 8.9): a daemon older than its client does not know it.
    for wanted in (sum(flags), sum(flags[:-1])):
        try:
            domain.undefineFlags(wanted)
            return
        except libvirt.libvirtError as error:
            code = error.get_error_code()
            if code == libvirt.VIR_ERR_NO_DOMAIN:
                return
            if code != libvirt.VIR_ERR_INVALID_ARG or wanted == sum(flags[:-1]):
                raise


def _log_tail(connection: Any, name: str) -> str:
    """Returns the last lines of QEMU's log as a part of a message, '' where it cannot be read."""
    for folder in _log_folders(connection.getURI()):
        try:
            with open(os.path.join(folder, f"{name}.log"), "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - LOG_BYTES, 0))
                lines: List[str] = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        said = [line.strip() for line in lines if line.strip() and not line.startswith(("-", "LC_ALL"))]
        return "; QEMU's log ends with: " + " | ".join(said[-LOG_LINES:]) if said else ""
    return ""


def _log_folders(uri: str) -> List[str]:
    if uri.endswith("/session"):
        cache: Optional[str] = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return [os.path.join(str(cache), "libvirt", "qemu", "log")]
    return ["/var/log/libvirt/qemu"]
