# SPDX-License-Identifier: GPL-3.0-or-later
"""place(): guests onto hosts, all or nothing, each guest seeing what those before it have taken."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from berth.errors import NoValidHost
from berth.placement.checks import check_requests
from berth.placement.choice import Choice
from berth.placement.explain import explain
from berth.placement.fleet import Fleet
from berth.placement.model import GuestRequest
from berth.placement.nearest import nearest_misses
from berth.placement.outcome import pins_on
from berth.placement.pinning import NO_PINS, Pins
from berth.placement.profile import Pipeline, Profile
from berth.placement.report import Report
from berth.placement.shapes import Shape, shape_key
from berth.placement.view import View

_SHAPES_KEPT = 32  # each holds some columns as long as the fleet


@dataclass(frozen=True, slots=True)
class Placement:
    """One guest's host, the hosts to try when that one fails (best first, not booked), and what it is pinned to."""

    request: GuestRequest
    host: str
    alternates: tuple[str, ...] = ()
    score: float = 0.0
    pins: Pins = NO_PINS

    def to_dict(self) -> dict[str, Any]:
        """Returns the placement as JSON-ready data."""
        return {
            "guest": self.request.name,
            "uuid": self.request.uuid,
            "host": self.host,
            "alternates": list(self.alternates),
            "score": self.score,
            "pins": self.pins.to_dict(),
        }


class Decision:
    """The outcome of place(). `placements` has every guest in the order of the requests, or nothing at all.

    Reports are not kept but made when asked for: the guests before are booked again, and the one in question
    is decided once more with every number written down.
    """

    def __init__(self, replay: Replay, placements: tuple[Placement, ...], failed_index: int | None) -> None:
        self._replay = replay
        self.placements = placements
        self.failed_index = failed_index

    @property
    def ok(self) -> bool:
        """Returns whether every guest has a host."""
        return self.failed_index is None

    @cached_property
    def failure(self) -> Failure | None:
        """Returns which guest found no host and why; None when all have one."""
        if self.failed_index is None:
            return None
        request = self._replay.requests[self.failed_index]
        return Failure(self.failed_index, request, self.explain(self.failed_index))

    def explain(self, index: int = 0) -> Report:
        """Returns the report of the guest at `index`, as things stood when it was its turn.

        Raises IndexError past the guest that found no host: those after it were never decided.
        """
        return self._replay.report(index, self.placements[index] if self.placements else None)

    def error(self) -> NoValidHost:
        """Returns the error to raise when the decision is not ok."""
        failure = self.failure
        if failure is None:
            raise ValueError("the decision is ok: there is no error")
        report, count = failure.report, len(self._replay.requests)
        text = report.summary
        if count > 1:
            text += f"; it is number {failure.index + 1} of {count} and none was placed"
        hint = report.hints[0] if report.hints else "`berth place --explain` shows each host"
        details = (*(f"{r.host}: {r.filter}: {r.text}" for r in report.refused), *report.hints[1:])
        return NoValidHost(text, hint=hint, details=details, data=failure.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Returns the outcome as JSON-ready data."""
        return {
            "ok": self.ok,
            "placements": [placement.to_dict() for placement in self.placements],
            "failure": None if self.failure is None else self.failure.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """The first guest of the batch that found no host."""

    index: int
    request: GuestRequest
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Returns the failure as JSON-ready data."""
        return {"index": self.index, "guest": self.request.name, "report": self.report.to_dict()}


@dataclass(frozen=True)
class Replay:
    """What it takes to decide the batch's guests again. `rows` are the hosts chosen, in order."""

    fleet: Fleet
    requests: Sequence[GuestRequest]
    pipeline: Pipeline
    now_s: float
    rows: Sequence[int]
    pins: Sequence[Pins]

    def report(self, index: int, placement: Placement | None) -> Report:
        """Returns the report of one guest, those before it booked."""
        if index > len(self.rows):
            raise IndexError(f"guest {index} was not decided: guest {len(self.rows)} found no host")
        view = View(self.fleet, self.now_s)
        for request, row, pins in zip(self.requests[:index], self.rows, self.pins, strict=False):
            view.book(row, request, pins)
        report = explain(view, self.requests[index], self.pipeline)
        if index == len(self.rows):
            return replace(report, hints=nearest_misses(view, self.requests[index], self.pipeline))
        if placement is None:
            return report
        return replace(report, chosen=placement.host, alternates=placement.alternates)


class _Batch:
    """One run of place()."""

    def __init__(self, view: View, profile: Profile, choice: Choice) -> None:
        self.view = view
        self.pipeline = profile.pipeline
        self.choice = choice
        self.spare = profile.max_attempts - 1
        self._shapes: OrderedDict[Hashable, Shape] = OrderedDict()

    def shape(self, key: Hashable, request: GuestRequest) -> Shape:
        """Returns the request's shape, up to date."""
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(self.view, request, self.pipeline)
            if len(self._shapes) > _SHAPES_KEPT:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(key)
            found.refresh()
        return found

    def alternates(self, key: Hashable, request: GuestRequest, chosen: Sequence[int]) -> list[int]:
        """Returns rows to try after the chosen one, as things stand: hosts that this batch left alone come first."""
        scores = self.shape(key, request).scores
        found = self.choice.best_after(scores, frozenset(chosen), self.spare + 1)
        more = self.choice.best_after(scores, frozenset(found), self.spare + 1 - len(found))
        return [*found, *more]


def place(
    fleet: Fleet, requests: Sequence[GuestRequest], profile: Profile, *, now_s: float, seed: int | None = None
) -> Decision:
    """Returns a host for each guest, or which guest has none and why. All or nothing; the fleet does not change.

    Guests are placed in the order of the requests; equal scores go to the first host by name. Alternates
    are ranked as things stand once all guests have their place; none is the guest's own host.
    Raises InvalidInput with every mistake in the requests.
    """
    check_requests(fleet, requests, profile.pipeline.filters)
    view = View(fleet, now_s)
    batch = _Batch(view, profile, Choice(profile, requests, seed))
    keys = [shape_key(request, batch.pipeline) for request in requests]
    rows: list[int] = []
    all_pins: list[Pins] = []
    scores: list[float] = []
    failed: int | None = None
    for index, (request, key) in enumerate(zip(requests, keys, strict=True)):
        survivors = batch.shape(key, request).scores
        if not survivors.rows.size:
            failed = index
            break
        row = batch.choice.pick(survivors)
        pins = pins_on(view, row, request, profile.options)
        scores.append(survivors.score_of(row))
        rows.append(row)
        all_pins.append(pins)
        if len(requests) > 1:
            view.book(row, request, pins)
    replay = Replay(fleet, requests, batch.pipeline, now_s, rows, all_pins)
    if failed is not None:
        return Decision(replay, (), failed)
    return Decision(replay, tuple(_placements(batch, keys, requests, replay, scores)), None)


def place_what_fits(
    fleet: Fleet, requests: Sequence[GuestRequest], profile: Profile, *, now_s: float, seed: int | None = None
) -> list[str | None]:
    """Returns each guest's host, None where it has none: the others are placed all the same.

    Raises InvalidInput with every mistake in the requests.
    """
    check_requests(fleet, requests, profile.pipeline.filters)
    view = View(fleet, now_s)
    batch = _Batch(view, profile, Choice(profile, requests, seed))
    found: list[str | None] = []
    for request in requests:
        survivors = batch.shape(shape_key(request, batch.pipeline), request).scores
        if not survivors.rows.size:
            found.append(None)
            continue
        row = batch.choice.pick(survivors)
        view.book(row, request, pins_on(view, row, request, profile.options))
        found.append(fleet.names[row])
    return found


def _placements(
    batch: _Batch, keys: list[Hashable], requests: Sequence[GuestRequest], replay: Replay, scores: list[float]
) -> list[Placement]:
    """Returns the placements; requests of one shape share their list of alternates, less their own host."""
    names = replay.fleet.names
    ranked: dict[Hashable, list[int]] = {}
    found = []
    for key, request, row, score, pins in zip(keys, requests, replay.rows, scores, replay.pins, strict=True):
        if key not in ranked:
            ranked[key] = batch.alternates(key, request, replay.rows)
        others = [names[other] for other in ranked[key] if other != row][: batch.spare]
        found.append(Placement(request, names[row], tuple(others), score, pins))
    return found
