# SPDX-License-Identifier: GPL-3.0-or-later
"""One kind of request in a batch: its mask and scores, computed once, then only where a booking changed a row."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from berth.placement.filters.base import Filter, Reads
from berth.placement.fleet import ALL, Mask
from berth.placement.model import GuestRequest
from berth.placement.profile import Pipeline
from berth.placement.scores import RowNumbers, Scores
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
        self._fixed: Mask = np.ones(view.fleet.size, dtype=bool)  # by the filters that no booking concerns
        self._batch = self._fixed  # by those that read where other guests are
        self._mask = self._ask_all(pipeline.forced if request.force_host else pipeline.filters)
        self._batch_weighers = any(weigher.reads == Reads.BATCH for weigher, _ in pipeline.weighers)
        self.scores = Scores(view, request, self._mask, pipeline.weighers)

    def _ask_all(self, rules: Iterable[Filter]) -> Mask:
        """Returns which rows pass every filter; the costly ones are asked about the rows that are left."""
        mask: Mask = np.ones(self._view.fleet.size, dtype=bool)
        costly = []
        for rule in rules:
            reads = rule.reads_for(self._request)
            if rule.costly and reads != Reads.BATCH:
                costly.append(rule)
                continue
            found = rule.passes(self._view, self._request, ALL)
            if found is None:
                continue
            if reads == Reads.FACTS:
                self._fixed &= found
            elif reads == Reads.ROW:
                self._by_row.append(rule)
                mask &= found
            else:
                self._by_batch.append(rule)
        self._batch = self._ask_batch()
        mask &= self._batch
        for rule in costly:
            rows = np.flatnonzero(mask)
            found = rule.passes(self._view, self._request, rows)
            if found is not None:
                self._by_row.append(rule)
                mask[rows] = found
        return mask

    def _ask_batch(self) -> Mask:
        mask = self._fixed
        for rule in self._by_batch:
            found = rule.passes(self._view, self._request, ALL)
            if found is not None:
                mask = mask & found
        return mask

    def _ask_rows(self, rows: RowNumbers) -> Mask:
        """Returns which of the rows pass every filter as things stand."""
        passes: Mask = self._batch[rows]
        for rule in self._by_row:
            found = rule.passes(self._view, self._request, rows)
            if found is not None:
                passes &= found
        return passes

    def refresh(self) -> None:
        """Brings mask and scores up to date with what was booked since.

        Asked again are the rows booked on, and those that were refused for where other guests are and no
        longer are: nothing else may pass that did not. The other rows keep their verdict and their weights.
        """
        if self._seen == len(self._view.log):
            return
        rows = np.array(self._view.changed_since(self._seen), dtype=np.intp)
        booked = [request for _, request in self._view.log[self._seen :]]
        self._seen = len(self._view.log)
        closed = rows[:0]
        if any(rule.depends_on(self._request, guest) for rule in self._by_batch for guest in booked):
            before, self._batch = self._batch, self._ask_batch()
            rows = np.union1d(rows, np.flatnonzero(self._batch & ~before))
            closed = np.flatnonzero(self._mask & ~self._batch)
            self._mask[closed] = False
        passed, passes = self._mask[rows], self._ask_rows(rows)
        self._mask[rows] = passes
        if self._batch_weighers or bool((passes & ~passed).any()):
            self.scores = Scores(self._view, self._request, self._mask, self._pipeline.weighers)
        else:
            self.scores.remove(np.concatenate((closed, rows[passed & ~passes])))
            self.scores.update(rows[passes])


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
