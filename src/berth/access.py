# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest is reached over SSH: its address, the jump through its host, and the key it must show. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.errors import BerthError, Conflict
from berth.ledger.rows import GuestRow, HostRow

LOOPBACK = "127.0.0.1"
SSH_PORT = 22
CONNECT_TIMEOUT_S = 10
FORWARD = "[%h]:%p"  # tokens of ssh_config(5): where the connection is to go
# Networks whose addresses mean something only on the host itself.
HIDDEN_KINDS = ("nat",)
USER_KIND = "user"
# Networks whose DHCP is libvirt's, which tells the host what it leased.
LIBVIRT_KINDS = ("nat", "routed")


@dataclass(frozen=True)
class Jump:
    """How the controller reaches a host over SSH, as its inventory and ansible.cfg say it."""

    host: str
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    arguments: tuple[str, ...] = ()
    executable: str = "ssh"

    def argv(self, *, batch: bool) -> list[str]:
        """Returns the command that carries a connection to ssh's %h:%p through the host."""
        # The first value of an option counts. A shared connection would stay behind with our error output open.
        options = {"ControlPath": "none", "Port": self.port, "User": self.user, "IdentityFile": self.key_file}
        if batch:
            options |= {"BatchMode": "yes", "ConnectTimeout": CONNECT_TIMEOUT_S}
        words = [word for name, value in options.items() if value for word in ("-o", f"{name}={value}")]
        return [self.executable, *words, *self.arguments, "-W", FORWARD, self.host]


@dataclass(frozen=True)
class Route:
    """The way to one guest. `host_key` is the public key that it must show, `key_type base64`."""

    name: str
    uuid: str
    host: str
    port: int
    user: str
    host_key: str
    jump: Jump | None = None

    @property
    def alias(self) -> str:
        """Returns the name that the guest's key is kept under: addresses and ports are used again, UUIDs are not."""
        return f"berth-{self.uuid}"

    @property
    def known_hosts_line(self) -> str:
        """Returns the guest's line of a known_hosts file (sshd(8))."""
        return f"{self.alias} {' '.join(self.host_key.split()[:2])}\n"


def guest_route(guest: GuestRow, host: HostRow) -> Route:
    """Returns how the controller reaches a guest: the first of its interfaces that can be reached decides.

    Bridged and routed networks are reached directly, NAT networks through the host, user-mode networking on the host's
    forwarded port. Raises Conflict when the guest has no key or no address yet.
    """
    if not guest.ssh_host_key:
        raise Conflict(
            f"guest {guest.name}: its SSH host key is not known; it is {guest.vm_state}",
            hint=f"the key is made by its boot: see `berth show {guest.name}`",
        )
    target, port, through_host = _target(guest, host)
    local = host.access.get("ansible_connection") == "local"
    return Route(
        name=guest.name,
        uuid=guest.uuid,
        host=target,
        port=port,
        user=str(guest.plan.get("login_user") or "root"),
        host_key=guest.ssh_host_key,
        jump=host_jump(host) if through_host and not local else None,
    )


def _target(guest: GuestRow, host: HostRow) -> tuple[str, int, bool]:
    """Returns address, port, and whether only the host can reach them."""
    interfaces = guest.plan.get("networks") or []
    for interface in interfaces:
        if interface["kind"] == USER_KIND:
            if interface.get("ssh_port"):
                return LOOPBACK, int(interface["ssh_port"]), True
            continue
        address = interface.get("address") or _leased(host.facts or {}, interface.get("mac"))
        if address:
            return str(address), SSH_PORT, interface["kind"] in HIDDEN_KINDS
    networks = ", ".join(str(interface["network"]) for interface in interfaces) or "none"
    raise Conflict(
        f"guest {guest.name}: no address is known on its networks ({networks})",
        hint="`berth host refresh` learns what libvirt's DHCP leased; on a bridge only your DHCP server knows it",
    )


def waits_for_lease(guest: GuestRow, host: HostRow) -> bool:
    """Returns whether the guest has no known address yet, but will have one that its host can tell."""
    interfaces = guest.plan.get("networks") or []
    try:
        _target(guest, host)
    except Conflict:
        return any(each["kind"] in LIBVIRT_KINDS and each.get("assignment") == "dhcp" for each in interfaces)
    return False


def _leased(facts: Mapping[str, Any], mac: str | None) -> str | None:
    """Returns the address that a libvirt network of the host leases to `mac`, by the last facts."""
    for network in facts.get("networks") or ():
        for lease in network.get("leases") or ():
            if mac and lease["mac"].lower() == mac.lower():
                return str(lease["address"])
    return None


def host_jump(host: HostRow) -> Jump:
    """Returns how the controller reaches a host. Raises BerthError for arguments that are no shell words."""
    access = host.access
    try:
        words = [
            word
            for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
            for word in shlex.split(access.get(name) or "")
        ]
    except ValueError as error:
        raise BerthError(
            f"host {host.name}: its ansible_ssh_*args cannot be read: {error}", hint="mend the quotes in the inventory"
        ) from error
    return Jump(
        host=str(access.get("ansible_host") or host.name),
        port=int(access["ansible_port"]) if access.get("ansible_port") else None,
        user=access.get("ansible_user"),
        key_file=access.get("ansible_ssh_private_key_file"),
        arguments=tuple(words),
        executable=access.get("ansible_ssh_executable") or "ssh",
    )


def ssh_options(route: Route, known_hosts: Path, *, batch: bool = False, launcher: Sequence[str] = ()) -> list[str]:
    """Returns the options that make ssh take this route and accept this guest's key only (ssh_config(5)).

    `batch` never asks for a password or a passphrase, and gives up soon where nothing answers; on the jump too.
    `launcher` are the words that start the jump so that it hears SIGHUP: by it ssh ends its jump, which would else
    outlive a guest that was deleted by a quarter of an hour.
    """
    options = {
        "HostKeyAlias": route.alias,
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
    }
    if batch:
        options["BatchMode"] = "yes"
        options["ControlPath"] = "none"
        options["ConnectTimeout"] = str(CONNECT_TIMEOUT_S)
    if route.jump:
        # Not ProxyJump: the jump would be made with the options of the guest instead of those of the host.
        options["ProxyCommand"] = _proxy_command([*launcher, *route.jump.argv(batch=batch)])
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _quoted(path: Path) -> str:
    # The option takes several paths, and % starts a token in each.
    return '"' + str(path).replace("%", "%%") + '"'


def _proxy_command(argv: list[str]) -> str:
    # A shell reads it, after ssh has replaced its tokens; only those of -W are meant as such.
    return " ".join(f"'{word}'" if word == FORWARD else shlex.quote(word.replace("%", "%%")) for word in argv)
