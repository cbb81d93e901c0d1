# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.query import answer, answer_columns, parse_query, problems_in, words_of
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class JsonFilter(Filter):
    """Passes hosts for which the hint `query` holds (docs/placement.md has its grammar); all without the hint.

    Reason: "does not meet the query QUERY", with the values it looked at.
    """

    reads = Reads.ROW
    costly = True

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns every mistake in the query."""
        return problems_in(request.hints.get("query"))

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that meet the query."""
        query = parse_query(request.hints.get("query"))
        if not query:
            return None
        mask = answer_columns(query, view, rows)
        if mask is not None:
            return mask
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([answer(query, view, int(row)) for row in numbers], dtype=bool)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns the query and what the host answers to its `$` words."""
        query = parse_query(request.hints.get("query"))
        seen = ", ".join(f"{word}={value!r}" for word, value in words_of(query, view, row).items())
        return (Reason(Code.QUERY, f"does not meet the query {query}: {seen}", seen, str(query)),)
