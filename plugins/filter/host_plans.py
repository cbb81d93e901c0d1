# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host role asks of berth's pure functions: thin wrappers, errors turned into Ansible's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
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


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Returns name -> filter; the documentation of each is the .yml file of its name."""
        functions = (daemon_plan, fleet_members, migration_address, uri_host, verify_pairs)
        return {function.__name__: _as_filter(function) for function in functions}
