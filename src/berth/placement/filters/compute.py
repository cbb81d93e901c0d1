# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_REFRESH = "run `berth host refresh {name}`"


class ComputeFilter(Filter):
    """Passes hosts that are enabled, reachable, not quarantined, and whose facts are fresh.

    Fresh: |now - facts_at| <= `facts_max_age_s` of the profile's options. That takes the place of Nova's
    heartbeat. A forced host need not be fresh or reachable, but enabled, not quarantined and known it must be.
    Reasons: "disabled: TEXT", "quarantined: TEXT", "cannot be used: TEXT" (facts or variables do not hold), "no facts",
    "facts are H h old, allowed H h", "unreachable: TEXT".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns which rows may be used at all."""
        fleet = view.fleet
        facts_at = fleet.facts_at[rows]
        if request.force_host:
            return fleet.usable[rows] & (facts_at > float("-inf"))
        age = abs(view.now_s - facts_at)
        return fleet.usable[rows] & fleet.reachable[rows] & (age <= self.options.facts_max_age_s)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns all that keeps the host from being used."""
        host = view.fleet.hosts[row]
        refresh = _REFRESH.format(name=host.name)
        found = []
        if not host.enabled:
            found.append(Reason(Code.DISABLED, f"disabled: {host.disabled_reason or 'no reason given'}"))
        if host.quarantined:
            found.append(Reason(Code.QUARANTINED, f"quarantined: {host.quarantined}"))
        if host.facts_problem:
            found.append(Reason(Code.BAD_FACTS, f"cannot be used: {host.facts_problem}; {refresh}"))
        elif host.facts_at is None:
            found.append(Reason(Code.NO_FACTS, f"no facts; {refresh}", have=None, need="facts"))
        elif not request.force_host:
            age_s, allowed_s = abs(view.now_s - host.facts_at), self.options.facts_max_age_s
            if age_s > allowed_s:
                text = f"facts are {_age(age_s)} old, allowed {_age(allowed_s)}; {refresh}"
                found.append(Reason(Code.STALE_FACTS, text, round(age_s, 1), allowed_s, "s"))
        if not host.reachable and not request.force_host:
            found.append(Reason(Code.UNREACHABLE, f"unreachable: {host.unreachable_reason or 'no answer'}"))
        return tuple(found)


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
