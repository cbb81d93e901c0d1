# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host's libvirt daemon is to listen: which units run, which must not, and what its options say. Pure.

There are three ways: systemd hands the sockets to libvirtd (socket units), libvirtd opens them itself (`--listen`,
which it refuses while any of its socket units is there, so they are masked), and the modular daemons, where virtproxyd takes
remote connections in either of the two ways. Source: libvirtd(8), virtproxyd(8), "Libvirt daemons" of libvirt's manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.errors import InvalidInput

FLAVOURS = ("auto", "monolithic", "modular")
TRANSPORTS = ("tls", "ssh", "tcp")
LISTEN_MODES = ("auto", "socket", "listen")
# The daemons a compute host needs besides the proxy, when they are modular.
DRIVERS = (
    "virtqemud",
    "virtnetworkd",
    "virtstoraged",
    "virtnodedevd",
    "virtsecretd",
    "virtnwfilterd",
    "virtinterfaced",
)
BOOTED = ("enabled", "enabled-runtime", "alias", "linked")


@dataclass(frozen=True)
class Choice:
    """What the operator asked for; `auto` leaves it to what the host has."""

    transport: str
    flavour: str = "auto"
    listen_mode: str = "auto"

    def __post_init__(self) -> None:
        allowed = {"transport": TRANSPORTS, "flavour": FLAVOURS, "listen_mode": LISTEN_MODES}
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise InvalidInput(f"libvirt daemon: {name} {getattr(self, name)!r}; allowed: {', '.join(words)}")


@dataclass
class Units:
    """The units of one plan; every list is in the order in which systemd is to be asked."""

    start: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    mask: list[str] = field(default_factory=list)


def daemon_plan(unit_files: str, transport: str, flavour: str = "auto", listen_mode: str = "auto") -> dict[str, Any]:
    """Returns what the daemon of a host must look like.

    `unit_files` is the output of `systemctl list-unit-files --no-legend --plain`. The plan, JSON-ready:
    `flavour`, `listen_mode`; `daemon` (libvirtd or virtproxyd: the one that listens), `service` (its unit),
    `configuration` (its file under /etc/libvirt), `uuid_configurations` (files that must carry the host's UUID source),
    `options_variable` and `options` (for its defaults file; empty: the line must be absent), `port_socket` (the unit
    that listens on the network, or empty), `start`, `stop`, `mask` and `unmask` (units).
    Raises InvalidInput for a word that is not allowed, or a flavour the host does not have.
    """
    choice = Choice(transport, flavour, listen_mode)
    states = unit_states(unit_files)
    modular = _is_modular(choice.flavour, states)
    daemon = "virtproxyd" if modular else "libvirtd"
    listens = choice.listen_mode == "listen" or (
        choice.listen_mode == "auto" and states.get(f"{daemon}.socket", "").startswith("masked")
    )
    units = _listening(daemon, choice.transport) if listens else _sockets(daemon, choice.transport)
    if modular:
        units.start[:0] = [f"{name}.socket" for name in DRIVERS]
        units.stop = [*_own_sockets("libvirtd"), "libvirtd.service", *units.stop]
    else:
        units.stop += [f"{name}{end}" for name in (*DRIVERS, "virtproxyd") for end in (".socket", ".service")]
    known = _known(states, daemon)
    return {
        "flavour": "modular" if modular else "monolithic",
        "listen_mode": "listen" if listens else "socket",
        "daemon": daemon,
        "service": f"{daemon}.service",
        "configuration": f"{daemon}.conf",
        "uuid_configurations": [f"{daemon}.conf", *([f"{name}.conf" for name in DRIVERS] if modular else [])],
        "options_variable": f"{daemon.upper()}_ARGS",
        "options": "--listen" if listens and choice.transport != "ssh" else "--timeout 0" if listens else "",
        "port_socket": "" if listens or choice.transport == "ssh" else f"{daemon}-{choice.transport}.socket",
        "start": [unit for unit in units.start if unit in known],
        "stop": [unit for unit in units.stop if unit in known and unit not in units.mask],
        "mask": units.mask,
        "unmask": [] if listens else [unit for unit in units.start if states.get(unit, "").startswith("masked")],
    }


def unit_states(unit_files: str) -> dict[str, str]:
    """Returns unit -> its state (enabled, disabled, masked, ...) from systemctl's plain list."""
    rows = (line.split() for line in unit_files.splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _is_modular(flavour: str, states: Mapping[str, str]) -> bool:
    has_monolithic, has_modular = "libvirtd.service" in states, "virtqemud.service" in states
    if flavour == "modular" and not has_modular and states:
        raise InvalidInput(
            "libvirt daemon: this host has no modular daemons (virtqemud)",
            hint="install them, or set berth_host_daemon to monolithic or auto",
        )
    if flavour == "monolithic" and not has_monolithic and has_modular:
        raise InvalidInput(
            "libvirt daemon: this host has no libvirtd, only modular daemons",
            hint="install libvirtd, or set berth_host_daemon to modular or auto",
        )
    if flavour != "auto":
        return flavour == "modular"
    if any(states.get(unit) in BOOTED for unit in ("libvirtd.service", "libvirtd.socket")):
        return False
    return has_modular


def _own_sockets(daemon: str) -> list[str]:
    return [f"{daemon}{end}" for end in ("-tls.socket", "-tcp.socket", "-admin.socket", "-ro.socket", ".socket")]


def _sockets(daemon: str, transport: str) -> Units:
    local = [f"{daemon}.socket", f"{daemon}-ro.socket", f"{daemon}-admin.socket"]
    port = [] if transport == "ssh" else [f"{daemon}-{transport}.socket"]
    others = [f"{daemon}-{name}.socket" for name in ("tls", "tcp") if name != transport]
    return Units(start=[*local, *port], stop=others)


def _listening(daemon: str, transport: str) -> Units:
    return Units(start=[f"{daemon}.service"], mask=_own_sockets(daemon))


def _known(states: Mapping[str, str], daemon: str) -> set[str]:
    """Returns the units to name: those the host has; all of the daemon's when it has none yet (a dry run)."""
    own = {*_own_sockets(daemon), f"{daemon}.service"}
    return set(states) | ({*own} if f"{daemon}.service" not in states else set())
