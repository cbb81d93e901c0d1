# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host's libvirt daemon is to listen: which units run, which must not, and what its options say. Pure.

There are three ways: systemd hands the sockets to libvirtd (socket units), libvirtd opens them itself (`--listen`,
which it refuses while any of its socket units is there, so they are masked), and the modular daemons, where virtproxyd
takes remote connections in either of the two ways. Source: libvirtd(8), virtproxyd(8), "Libvirt daemons" of its manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


def daemon_plan(
    unit_files: str, units: str, transport: str, flavour: str = "auto", listen_mode: str = "auto"
) -> dict[str, Any]:
    """Returns what the daemon of a host must look like and what of that it does not.

    `unit_files` and `units` are the outputs of `systemctl list-unit-files` and `systemctl list-units --all`, both with
    `--no-legend --plain`. The plan, JSON-ready: `flavour`, `listen_mode`; `daemon` (libvirtd or virtproxyd: the one
    that listens), `service` (its unit), `configuration` (its file under /etc/libvirt), `uuid_configurations` (the files
    that carry the host's UUID source), `options_variable` and `options` (of its defaults file; empty: the line must be
    absent), `port_socket` (the unit that listens on the network, or empty); and, in the order in which systemd is to
    be asked, `halt` (stop before anything changes), `disable`, `unmask`, `enable`, `mask` and `start`; `drift` (one
    line for each unit that is not as planned). Raises InvalidInput for a word or a daemon that cannot be.
    """
    choice = Choice(transport, flavour, listen_mode)
    states, active = unit_states(unit_files), active_units(units)
    modular = _is_modular(choice.flavour, states)
    daemon, other = ("virtproxyd", "libvirtd") if modular else ("libvirtd", "virtproxyd")
    listens = choice.listen_mode == "listen" or (
        choice.listen_mode == "auto" and states.get(f"{daemon}.socket", "").startswith("masked")
    )
    port = "" if listens or choice.transport == "ssh" else f"{daemon}-{choice.transport}.socket"
    plan = _unit_lists(states, daemon, other, port, listens)
    return {
        "flavour": "modular" if modular else "monolithic",
        "listen_mode": "listen" if listens else "socket",
        "daemon": daemon,
        "service": f"{daemon}.service",
        "configuration": f"{daemon}.conf",
        "uuid_configurations": [f"{daemon}.conf", *([f"{name}.conf" for name in DRIVERS] if modular else [])],
        "options_variable": f"{daemon.upper()}_ARGS",
        "options": _options(listens, choice.transport),
        "port_socket": port,
        **plan,
        "drift": _drift(plan, states, active),
    }


def _unit_lists(states: Mapping[str, str], daemon: str, other: str, port: str, listens: bool) -> dict[str, list[str]]:
    modular = daemon == "virtproxyd"
    # A host without units is a dry run before the packages are there: the plan then names what they bring.
    known = set(states) or {f"{daemon}.service", *_sockets(daemon)}
    drivers = [f"{name}.{end}" for name in DRIVERS for end in ("service", "socket")]
    foreign = [f"{other}.service", *_sockets(other), *([] if modular else drivers)]
    wanted = [f"{daemon}.service"] if listens else [*([port] if port else []), *_local_sockets(daemon)]
    # systemd does not enable a service whose own sockets (Also=) are masked, so they are masked after it.
    enabled = states.get(f"{daemon}.service") in BOOTED
    unmaskable = wanted if not listens else [] if enabled else _sockets(daemon)
    plan = {
        "halt": [f"{daemon}.service", *_sockets(daemon), *foreign, *(drivers if modular else [])],
        "disable": [*foreign, *(unit for unit in _sockets(daemon) if not listens and unit not in wanted)],
        "unmask": [unit for unit in unmaskable if states.get(unit, "").startswith("masked")],
        "enable": [*wanted, f"{daemon}.service", *(drivers if modular else [])],
        "mask": _sockets(daemon) if listens else [],
        "start": [*([unit for unit in drivers if unit.endswith(".socket")] if modular else []), *wanted],
    }
    return {name: [unit for unit in dict.fromkeys(listed) if unit in known] for name, listed in plan.items()}


def active_units(units: str) -> set[str]:
    """Returns the active units of systemctl's plain list."""
    rows = (line.split() for line in units.splitlines())
    return {row[0] for row in rows if len(row) > 2 and row[2] == "active"}


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


def _local_sockets(daemon: str) -> list[str]:
    return [f"{daemon}{end}" for end in (".socket", "-ro.socket", "-admin.socket")]


def _sockets(daemon: str) -> list[str]:
    return [*_local_sockets(daemon), f"{daemon}-tls.socket", f"{daemon}-tcp.socket"]


def _options(listens: bool, transport: str) -> str:
    """Returns the daemon's options. With socket units it must have no `--listen`: it would refuse to start."""
    if not listens:
        return ""
    # Nothing starts a daemon without sockets again, so it must not end when idle.
    return "--timeout 0" if transport == "ssh" else "--listen --timeout 0"


def _drift(plan: Mapping[str, list[str]], states: Mapping[str, str], active: set[str]) -> list[str]:
    found = [f"{unit} is not masked" for unit in plan["mask"] if not states.get(unit, "").startswith("masked")]
    found += [f"{unit} is not enabled" for unit in plan["enable"] if states.get(unit) not in (*BOOTED, "static")]
    found += [f"{unit} is not active" for unit in plan["start"] if unit not in active]
    for unit in (*plan["disable"], *plan["mask"]):
        if unit in active or states.get(unit) in BOOTED:
            found.append(f"{unit} must not run")
    return found
