# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Mapping

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.operators import meets, problem_in
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_SCOPE = "aggregate_instance_extra_specs"

Metadata = Mapping[str, frozenset[str]]


class AggregateInstanceExtraSpecsFilter(Filter):
    """Passes hosts whose aggregates' merged metadata meets the flavor's extra specs.

    Read are keys without scope and those scoped `aggregate_instance_extra_specs:`; each must be in the
    metadata, with at least one of its comma-separated values meeting the requirement.
    Reason: "aggregates have KEY = VALUES, need REQUIREMENT".
    """

    reads = Reads.FACTS

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns the requirements that hold a mistake."""
        found = ((key, problem_in(requirement)) for key, requirement in _relevant(request))
        return tuple(f"extra spec {key}: {problem}" for key, problem in found if problem)

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that meet all of them."""
        wanted = list(_relevant(request))
        if not wanted:
            return None
        metadata = view.fleet.aggregate_metadata()
        return metadata.where(lambda merged: all(_meets(merged, key, text) for key, text in wanted), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns each requirement that the aggregates do not meet."""
        metadata = view.fleet.aggregate_metadata()
        merged: Metadata = metadata.values[metadata.codes[row]]
        found = []
        for key, requirement in _relevant(request):
            if not _meets(merged, key, requirement):
                have = ", ".join(sorted(merged.get(key, ()))) or "nothing"
                text = f"aggregates have {key} = {have}, need {requirement}"
                found.append(Reason(Code.AGGREGATE, text, have, requirement))
        return tuple(found)


def _relevant(request: GuestRequest) -> Iterator[tuple[str, str]]:
    for key, requirement in request.extra_specs.items():
        scope, colon, rest = key.partition(":")
        if not colon:
            yield key, str(requirement)
        elif scope == _SCOPE:
            yield rest, str(requirement)


def _meets(merged: Metadata, key: str, requirement: str) -> bool:
    return any(meets(value, requirement) for value in merged.get(key, ()))
