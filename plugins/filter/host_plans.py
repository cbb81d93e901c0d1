# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host role asks of berth's pure functions: thin wrappers, errors turned into Ansible's."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from ansible.errors import AnsibleFilterError

from berth.errors import BerthError
from berth.verbs.daemon_plan import daemon_plan
from berth.verbs.fleet import fleet_members, migration_address, uri_host
from berth.verbs.verify_pairs import verify_pairs


def _as_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BerthError as error:
            lines = [error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else [])]
            raise AnsibleFilterError("\n".join(lines)) from error

    return call


def _resolve(name: str) -> str | None:
    """Returns the address of a name, IPv4 before IPv6, or None. One of this very machine names no other host."""
    try:
        found = {each[4][0] for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return None
    addresses = [ipaddress.ip_address(each) for each in found]
    usable = [each for each in addresses if not (each.is_loopback or each.is_link_local)]
    return str(min(usable, key=lambda each: (each.version, int(each)))) if usable else None


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Returns name -> filter; the documentation of each is the .yml file of its name."""
        functions = (daemon_plan, migration_address, uri_host, verify_pairs)
        plain = {function.__name__: _as_filter(function) for function in functions}
        return {**plain, "fleet_members": _as_filter(partial(fleet_members, resolve=_resolve))}
