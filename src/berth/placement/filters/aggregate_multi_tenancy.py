# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_PREFIX = "filter_tenant_id"


class AggregateMultiTenancyIsolation(Filter):
    """Passes hosts whose aggregates name the guest's project, and hosts whose aggregates name none.

    Names are the comma-separated values of every metadata key that starts with `filter_tenant_id`.
    It does not keep a project out of hosts without such aggregates. Reason: "for projects A, B, not for C".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows open to the project."""
        if not any(key.startswith(_PREFIX) for key in view.fleet.aggregate_keys):
            return None
        return view.fleet.aggregate_metadata().where(lambda merged: _open(merged, request.project), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns whom the host is for."""
        metadata = view.fleet.aggregate_metadata()
        have = ", ".join(sorted(_projects(metadata.values[metadata.codes[row]])))
        return (Reason(Code.TENANT, f"for projects {have}, not for {request.project}", have, request.project),)


def _projects(merged: Mapping[str, frozenset[str]]) -> set[str]:
    return {name for key, names in merged.items() if key.startswith(_PREFIX) for name in names}


def _open(merged: Mapping[str, frozenset[str]], project: str) -> bool:
    projects = _projects(merged)
    return not projects or project in projects
