# SPDX-License-Identifier: GPL-3.0-or-later
"""Which libvirt daemon serves a host, how it listens to others, and until when its certificates hold."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Sequence, Tuple

# libvirt's pages "Libvirt Daemons" and "Remote support": sockets of the daemons, ports of tcp and tls.
MODULAR_SOCKET = "/run/libvirt/virtqemud-sock"
DAEMONS = ("libvirtd", "virtproxyd")
PORTS = (16509, 16514)
LISTENING = "0A"  # state of /proc/net/tcp, include/net/tcp_states.h
LIBVIRT_CERTIFICATES = ("/etc/pki/libvirt/servercert.pem", "/etc/pki/libvirt/clientcert.pem")
# What QEMU itself sends in a migration is encrypted with these, whatever way libvirt's daemons reach each other.
QEMU_CERTIFICATES = ("/etc/pki/qemu/server-cert.pem", "/etc/pki/qemu/client-cert.pem")


def daemon(uri: str) -> Dict[str, Any]:
    """Returns the part `daemon` of the facts.

    `flavor` is session, private (a socket or a root of its own), modular or monolithic; `listen` is socket when the
    open ports belong to socket units, listen when the daemon opened them itself, none without any; `ports` are the
    libvirt ports that are open.
    """
    ports = listening_ports()
    return {"flavor": flavor(uri), "listen": _listen(ports), "ports": ports, "uri": uri}


def flavor(uri: str, modular_socket: str = MODULAR_SOCKET) -> str:
    """Returns session, private, modular or monolithic."""
    address, _question, parameters = uri.partition("?")
    if re.search(r"(^|&)(socket|root)=", parameters) or "/embed" in address:
        return "private"
    if address.endswith("/session") and os.geteuid() != 0:
        return "session"
    # libvirt's client takes the driver's own socket when it is there, src/remote/remote_sockets.c.
    return "modular" if os.path.exists(modular_socket) else "monolithic"


def listening_ports() -> List[int]:
    """Returns the libvirt ports on which something listens."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                lines = stream.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            _slot, local, _remote, state = line.split()[:4]
            if state == LISTENING:
                found.add(int(local.rpartition(":")[2], 16))
    return sorted(found.intersection(PORTS))


def _listen(ports: List[int]) -> str:
    if not ports:
        return "none"
    return "listen" if any(_opens_ports(command) for command in _command_lines()) else "socket"


def _opens_ports(command: List[str]) -> bool:
    return any(word == "--listen" or re.match(r"-[a-z]*l[a-z]*$", word) for word in command[1:])


def _command_lines() -> List[List[str]]:
    """Returns the command lines of the daemons that share our network; a container's daemon opens other ports."""
    found = []
    ours = os.readlink("/proc/self/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{0}/comm".format(pid), encoding="utf-8", errors="replace") as stream:
                if stream.read().strip() not in DAEMONS:
                    continue
            if os.readlink("/proc/{0}/ns/net".format(pid)) != ours:
                continue
            with open("/proc/{0}/cmdline".format(pid), encoding="utf-8", errors="replace") as stream:
                found.append([word for word in stream.read().split("\0") if word])
        except OSError:
            continue  # it ended while we looked, or an ordinary user may not look
    return found


def certificates(transport: Optional[str]) -> Tuple[str, ...]:
    """Returns where the certificates lie that this transport uses; libvirt's own are for tls, or None: not known."""
    return (LIBVIRT_CERTIFICATES if transport in ("tls", None) else ()) + QEMU_CERTIFICATES


def certificate_not_after(module: Any, openssl: Optional[str], paths: Sequence[str]) -> Optional[float]:
    """Returns when the first of the certificates expires; None without one or without openssl."""
    times = []
    seen = set()
    for path in paths if openssl else ():
        real = os.path.realpath(path)
        if real in seen or not os.access(real, os.R_OK):
            continue
        seen.add(real)
        code, out, _err = module.run_command([openssl, "x509", "-noout", "-enddate", "-in", real])
        if code == 0:
            times.append(end_date(out))
    return min(times) if times else None


def end_date(text: str) -> float:
    """Returns the time of openssl's line `notAfter=Jul  1 12:00:00 2026 GMT`."""
    value = text.strip().partition("=")[2]
    moment = datetime.strptime(value, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=timezone.utc)
    return moment.timestamp()
