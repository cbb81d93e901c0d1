# SPDX-License-Identifier: GPL-3.0-or-later
"""Says why, after the fact: decides one guest again with every filter's and weigher's numbers written down."""

from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter
from berth.placement.fleet import ALL, Mask
from berth.placement.model import GuestRequest
from berth.placement.profile import Pipeline
from berth.placement.reasons import Refusal
from berth.placement.report import Report, Share, Stage, Weighed
from berth.placement.scores import Scores
from berth.placement.view import View


def explain(view: View, request: GuestRequest, pipeline: Pipeline) -> Report:
    """Returns the report of one guest on the fleet as `view` has it."""
    fleet = view.fleet
    rows = np.arange(fleet.size)
    refused: list[tuple[int, Refusal]] = []
    stages = []
    for rule in pipeline.forced if request.force_host else pipeline.filters:
        before = rows.size
        rows, out = _split(view, request, rule, rows)
        refused.extend((row, Refusal(fleet.names[row], rule.name, rule.reasons(view, request, row))) for row in out)
        stages.append(Stage(rule.name, before, rows.size))
    mask = np.zeros(fleet.size, dtype=bool)
    mask[rows] = True
    return Report(
        guest=request.name,
        hosts=fleet.size,
        refused=tuple(refusal for _, refusal in sorted(refused, key=lambda pair: pair[0])),
        weighed=_weighed(view, request, mask, pipeline),
        stages=tuple(stages),
    )


def _split(
    view: View, request: GuestRequest, rule: Filter, rows: np.typing.NDArray[np.intp]
) -> tuple[np.typing.NDArray[np.intp], list[int]]:
    mask = rule.passes(view, request, ALL if rows.size == view.fleet.size else rows)
    if mask is None:
        return rows, []
    return rows[mask], [int(row) for row in rows[~mask]]


def _weighed(view: View, request: GuestRequest, mask: Mask, pipeline: Pipeline) -> tuple[Weighed, ...]:
    scores = Scores(view, request, mask, pipeline.weighers, everything=True)
    normalised = [column.normalised for column in scores.columns]
    found = []
    for at in np.argsort(-scores.total, kind="stable"):
        shares = tuple(
            Share(
                weigher=column.weigher.name,
                raw=float(column.raw[at]),
                normalised=float(between[at]),
                multiplier=column.multiplier if isinstance(column.multiplier, float) else float(column.multiplier[at]),
            )
            for column, between in zip(scores.columns, normalised, strict=True)
        )
        found.append(Weighed(view.fleet.names[scores.rows[at]], float(scores.total[at]), shares))
    return tuple(found)
