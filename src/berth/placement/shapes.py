# SPDX-License-Identifier: GPL-3.0-or-later
"""One kind of request in a batch: its mask and scores, computed once, then only where a booking changed a row."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from berth.placement.filters.base import Filter, Reads
from berth.placement.fleet import ALL, Mask
from berth.placement.model import GuestRequest
from berth.placement.profile import Pipeline
from berth.placement.scores import Scores
from berth.placement.view import View


class Shape:
    """The hosts that pass one kind of request, with their scores, as of `refresh()`."""

    def __init__(self, view: View, request: GuestRequest, pipeline: Pipeline) -> None:
        self._view = view
        self._request = request
        self._pipeline = pipeline
        self._seen = len(view.log)
        self._by_row: list[Filter] = []
        self._by_batch: list[Filter] = []
        self._rules = pipeline.forced if request.force_host else pipeline.filters
        self._fixed: Mask | None = None
        self._row_mask: Mask | None = None
        self._ask_all()
        self._mask = self._combined()
        self._batch_weighers = any(weigher.reads == Reads.BATCH for weigher, _ in pipeline.weighers)
        self.scores = Scores(view, request, self._mask, pipeline.weighers)

    def _ask_all(self) -> None:
        """Asks every filter about every row; the costly ones about the rows that are left."""
        costly = []
        for rule in self._rules:
            reads = rule.reads_for(self._request)
            if reads == Reads.BATCH:
                if rule.passes(self._view, self._request, ALL) is not None:
                    self._by_batch.append(rule)
            elif rule.costly:
                costly.append(rule)
            else:
                self._keep(rule, reads, rule.passes(self._view, self._request, ALL))
        for rule in costly:
            rows = self._left()
            found = rule.passes(self._view, self._request, rows)
            if found is None:
                continue
            mask = np.zeros(self._view.fleet.size, dtype=bool)
            mask[rows] = found
            self._keep(rule, Reads.ROW, mask)

    def _keep(self, rule: Filter, reads: Reads, mask: Mask | None) -> None:
        if mask is None:
            return
        if reads == Reads.FACTS:
            self._fixed = _both(self._fixed, mask)
        else:
            self._by_row.append(rule)
            self._row_mask = _both(self._row_mask, mask)

    def _left(self) -> npt.NDArray[np.intp]:
        mask = self._row_mask if self._fixed is None else _both(self._row_mask, self._fixed)
        return np.arange(self._view.fleet.size) if mask is None else np.flatnonzero(mask)

    def _combined(self) -> Mask | None:
        mask = self._fixed
        if self._row_mask is not None:
            mask = _both(mask, self._row_mask)
        for rule in self._by_batch:
            found = rule.passes(self._view, self._request, ALL)
            if found is not None:
                mask = _both(mask, found)
        return mask

    def refresh(self) -> None:
        """Brings mask and scores up to date with what was booked since."""
        view = self._view
        if self._seen == len(view.log):
            return
        changed = np.array(view.changed_since(self._seen), dtype=np.intp)
        self._seen = len(view.log)
        passed = np.ones(changed.size, dtype=bool) if self._mask is None else self._mask[changed]
        passes = self._recheck(changed)
        if self._by_batch or self._batch_weighers or bool((passes & ~passed).any()):
            self._mask = self._combined()
            self.scores = Scores(view, self._request, self._mask, self._pipeline.weighers)
        else:
            self.scores.remove(changed[passed & ~passes])
            self.scores.update(changed[passes])

    def _recheck(self, rows: npt.NDArray[np.intp]) -> Mask:
        """Asks the filters that read a host's own usage about the rows again. Returns which pass; keeps the masks."""
        passes: Mask = np.ones(rows.size, dtype=bool)
        for rule in self._by_row:
            mask = rule.passes(self._view, self._request, rows)
            if mask is not None:
                passes &= mask
        if self._row_mask is not None:
            self._row_mask[rows] = passes
        if self._fixed is not None:
            passes &= self._fixed[rows]
        if self._mask is not None:
            self._mask[rows] = passes
        return passes


def _both(left: Mask | None, right: Mask) -> Mask:
    return right.copy() if left is None else left & right


def shape_key(request: GuestRequest, pipeline: Pipeline) -> Hashable:
    """Returns what two requests share when the same hosts pass them with the same weights.

    That is all but who they are, which no built-in filter or weigher reads; a plug-in may.
    """
    return (
        (request.uuid, request.name) if pipeline.has_plugins else None,
        request.vcpus,
        request.memory_mib,
        request.disk_gib,
        request.ephemeral_gib,
        request.swap_mib,
        request.project,
        request.flavor,
        request.image,
        _frozen(request.image_properties),
        _frozen(request.extra_specs),
        request.availability_zone,
        None if request.group is None else request.group.name,
        request.force_host,
        request.ignore_hosts,
        request.tried_hosts,
        request.destination,
        request.current_host,
        _frozen(request.hints),
    )


def _frozen(mapping: Mapping[str, Any]) -> str:
    return json.dumps(dict(mapping), sort_keys=True, default=str) if mapping else ""
