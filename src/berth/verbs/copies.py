# SPDX-License-Identifier: GPL-3.0-or-later
"""Where else a guest runs: what must be known before it is started, since it runs on at most one host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.ledger.model import PowerState

ON = (PowerState.RUNNING, PowerState.PAUSED)


def domain_states(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns uuid -> state of the domains that a host's facts show."""
    return {str(domain["uuid"]): str(domain["state"]) for domain in facts.get("domains") or ()}


def copies_elsewhere(uuid: str, home: str | None, domains: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Returns (host, state) for every host but `home` that shows the guest running or paused, by host.

    `domains` maps a host to its domains, uuid -> state.
    """
    found = {host: states.get(uuid) for host, states in domains.items() if host != home}
    return [(host, str(state)) for host, state in sorted(found.items()) if state in ON]
