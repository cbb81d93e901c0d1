# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from berth.placement.attributes import CHANGING, FIXED, attribute, fixed_attribute
from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.operators import meets, problem_in
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_SCOPE = "capabilities"
_BITS = "hw:maxphysaddr_bits"


class ComputeCapabilitiesFilter(Filter):
    """Passes hosts whose attributes meet the flavor's extra specs.

    Read are `capabilities:a:b` (attribute a, in it b; a first name that is no attribute is looked up in the
    host's facts), keys without scope that name an attribute, and `hw:maxphysaddr_bits`. Others are ignored.
    What a host does not have, it does not meet. Values are compared as text made by str().
    Reason: "capability KEY is VALUE, need REQUIREMENT".
    """

    reads = Reads.ROW

    def reads_for(self, request: GuestRequest) -> Reads:
        """Returns ROW when a requirement is about an attribute that bookings change."""
        return Reads.ROW if any(path[0] in CHANGING for _, path, _ in _relevant(request)) else Reads.FACTS

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns the requirements that hold a mistake."""
        found = ((key, problem_in(requirement)) for key, _, requirement in _relevant(request))
        return tuple(f"extra spec {key}: {problem}" for key, problem in found if problem)

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that meet all of them."""
        mask: Mask | None = None
        for _, path, requirement in _relevant(request):
            found = _meets(view, path, requirement, rows)
            mask = found if mask is None else mask & found
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns each requirement that the host does not meet."""
        found = []
        for key, path, requirement in _relevant(request):
            value = attribute(view, row, path, facts_too=True)
            if value is None or not meets(str(value), requirement):
                have = "unknown" if value is None else str(value)
                found.append(
                    Reason(Code.CAPABILITY, f"capability {key} is {have}, need {requirement}", have, requirement)
                )
        return tuple(found)


def _relevant(request: GuestRequest) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yields (key, path, requirement) of each extra spec that this filter reads."""
    for key, requirement in request.extra_specs.items():
        scope = key.split(":")
        if key == _BITS:
            yield key, ("cpu_info", "maxphysaddr", "bits"), f">= {requirement}"
        elif len(scope) > 1 and scope[0] == _SCOPE:
            yield key, tuple(scope[1:]), str(requirement)
        elif key in FIXED or key in CHANGING:
            yield key, (key,), str(requirement)


def _meets(view: View, path: tuple[str, ...], requirement: str, rows: Rows) -> Mask:
    if path[0] in CHANGING:
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        values = (attribute(view, int(row), path) for row in numbers)
        return np.array([value is not None and meets(str(value), requirement) for value in values], dtype=bool)
    column = view.fleet.coded(("capability", path), lambda host: _text(fixed_attribute(host, path, facts_too=True)))
    return column.where(lambda text: text is not None and meets(text, requirement), rows)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
