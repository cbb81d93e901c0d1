# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to libvirt from a module: the binding found, the daemon waited for, errors kept whole."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

try:
    import libvirt
except ImportError:
    libvirt = None

# Distributions serve python3-libvirt only to their own interpreter.
INTERPRETERS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/bin/python")
CONNECT_TIMEOUT_S = 15.0
# A daemon that restarts is without its socket for a moment; a host without a daemon is so for ever.
NO_SOCKET_TIMEOUT_S = 5.0
RETRY_PAUSE_S = 0.3

# What libvirt's client says when the daemon goes away under it or is not back yet. The codes alone
# (VIR_ERR_SYSTEM_ERROR, VIR_ERR_INTERNAL_ERROR, VIR_ERR_RPC) also cover errors that no waiting cures.
# Texts: src/rpc/virnetsocket.c and virnetclient.c of libvirt 9.0 and 11.3, and strerror().
_LOST = (
    "client socket is closed",
    "connection refused",
    "connection reset by peer",
    "end of file while reading data",
    "broken pipe",
    "transport endpoint is not connected",
    "connection closed due to keepalive timeout",
)
_NO_SOCKET = "failed to connect socket to"
# libvirt's virterror.h: VIR_ERR_AUTH_FAILED, VIR_ERR_AUTH_UNAVAILABLE, VIR_ERR_AUTH_CANCELLED. polkit's refusals.
_AUTH_CODES = (45, 79, 80)
_BECOME = "set ansible_become: true for this host in the inventory, or let Ansible log in as root"


def load(module: Any, **answer: Any) -> Any:
    """Returns the libvirt binding; starts the module again under an interpreter that has it.

    Does not return when no interpreter of the host has it: the module fails with what to install, and with `answer`.
    """
    if libvirt is None:
        found = None if has_respawned() else probe_interpreters_for_module(list(INTERPRETERS), "libvirt")
        if found:
            respawn_module(found)
        missing = missing_required_lib("libvirt", url="https://pypi.org/project/libvirt-python/")
        module.fail_json(
            msg=f"{missing} Install python3-libvirt on the host, or set ansible_python_interpreter to one that has it.",
            **answer,
        )
    # Without a handler the binding prints every error on stderr, also those that are expected and handled.
    libvirt.registerErrorHandler(_silence, None)
    return libvirt


def connect(module: Any, uri: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Any:
    """Returns an open connection to `uri`. Fails the module with libvirt's own message and code when there is none."""
    load(module)
    try:
        return open_connection(uri, timeout_s)
    except libvirt.libvirtError as error:
        return module.fail_json(
            msg=f"cannot connect to libvirt at {uri}: {describe_unusable(error)}",
            libvirt_error_code=error.get_error_code(),
        )


def open_connection(uri: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Any:
    """Returns an open connection to `uri`, waiting at most `timeout_s` for a daemon that is just restarting.

    Raises libvirt.libvirtError. For threads: each needs a connection of its own.
    """
    begin = time.monotonic()
    while True:
        try:
            return libvirt.open(uri)
        except libvirt.libvirtError as error:
            if time.monotonic() - begin >= _patience_s(error, timeout_s):
                raise
        time.sleep(RETRY_PAUSE_S)


def is_lost(error: Any) -> bool:
    """Returns whether a libvirtError says that the daemon went away, so that a new connection may help."""
    text = str(error).lower()
    return any(part in text for part in _LOST)


def is_denied(error: Any) -> bool:
    """Returns whether a libvirtError says that the daemon is there and this user may not use it."""
    text = str(error).lower()
    return error.get_error_code() in _AUTH_CODES or (_NO_SOCKET in text and "permission denied" in text)


def describe(error: Any) -> str:
    """Returns libvirt's message with its code, which is what one searches for, and what to do for a mere user."""
    text = f"{str(error).rstrip('.')} (libvirt error {error.get_error_code()})"
    return f"{text}: {_BECOME}" if is_denied(error) else text


def describe_unusable(error: Any) -> str:
    """Returns describe() of an error that kept everything from being done, with where to look."""
    text = describe(error)
    return text if is_denied(error) else f"{text}; check that its daemon runs on this host"


class Link:
    """A connection that survives a restart of the daemon. One per thread."""

    def __init__(self, uri: str, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        self._connection: Optional[Any] = None

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def run(self, work: Callable[[Any], Any]) -> Any:
        """Returns work(connection). When the daemon goes away in the middle, connects again and runs it once more.

        `work` must read the state anew each time: the first run may have done part of it.
        Raises libvirt.libvirtError.
        """
        try:
            return work(self._open())
        except libvirt.libvirtError as error:
            if not is_lost(error):
                raise
        self.close()
        return work(self._open())

    def close(self) -> None:
        """Closes the connection; a later run() opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except libvirt.libvirtError:
                pass  # the other side is gone: nothing is left to close

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = open_connection(self.uri, self.timeout_s)
        return self._connection


def _patience_s(error: Any, timeout_s: float) -> float:
    if is_lost(error):
        return timeout_s
    return min(timeout_s, NO_SOCKET_TIMEOUT_S) if _NO_SOCKET in str(error).lower() else 0.0


def _silence(_context: Any, _error: Any) -> None:
    return None
