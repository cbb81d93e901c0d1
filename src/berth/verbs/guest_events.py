# SPDX-License-Identifier: GPL-3.0-or-later
"""How the journal of a guest is shown (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from berth.errors import NotFound
from berth.ledger.rows import Event, GuestRow, StepRow
from berth.ledger.store import Ledger
from berth.verbs.guest_names import find_guest, is_uuid
from berth.verbs.guest_view import timestamp


def find_any_guest(ledger: Ledger, name: str, project: str) -> GuestRow:
    """Returns a guest by name or UUID, also one that is gone: of several of one name the last. Raises NotFound."""
    if is_uuid(name):
        return ledger.guest_by_uuid(name)
    try:
        return find_guest(ledger, name, project)
    except NotFound:
        gone = ledger.guests(project=project, names=[name], deleted=True)
        if not gone:
            raise
        return max(gone, key=lambda row: row.created_at)


def action_views(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Returns the actions as `berth show` lists them, oldest first: all of each but its steps."""
    return [{key: value for key, value in view.items() if key != "steps"} for view in event_views(events)]


def action_lines(views: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the same, a few words each; `berth events` tells the rest."""
    return [
        f"{view['verb']} by {view['who']} at {view['started_at']}: "
        + (view["error"] or ("done" if view["ended_at"] else "open"))
        for view in views
    ]


def event_views(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Returns the actions as JSON-ready data, oldest first, each with its steps."""
    return [
        {
            "action": event.action.id,
            "verb": event.action.verb.value,
            "who": _who(event),
            "request_id": event.action.request_id,
            "started_at": timestamp(event.action.started_at),
            "ended_at": timestamp(event.action.ended_at),
            "attempts": event.action.attempts,
            "error": event.action.error,
            "steps": [_step(step) for step in event.steps],
        }
        for event in events
    ]


def event_rows(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Returns rows for a table: per action one of its own (who, how long, how it ended), then one per step."""
    rows = []
    for event in events:
        action = event.action
        head = {"action": action.id, "request_id": action.request_id, "verb": action.verb.value, "who": _who(event)}
        outcome = "open" if action.ended_at is None else "failed" if action.error else "ok"
        whole: dict[str, Any] = {"step": None, "host": None, "started_at": timestamp(action.started_at)}
        whole |= {"ended_at": timestamp(action.ended_at), "seconds": _seconds(action.started_at, action.ended_at)}
        again = f"attempt {action.attempts}" if action.attempts > 1 else None
        rows.append({**head, **whole, "outcome": outcome, "error": action.error or again})
        rows += [{"action": action.id, "verb": action.verb.value, **_step(step)} for step in event.steps]
    return rows


def _seconds(started_at: float, ended_at: float | None) -> float | None:
    return None if ended_at is None else round(ended_at - started_at, 3)


def _who(event: Event) -> str:
    owner = event.action.owner
    return f"{owner.get('user')}@{owner.get('host')}"


def _step(step: StepRow) -> dict[str, Any]:
    return {
        "step": step.step,
        "host": step.host,
        "started_at": timestamp(step.started_at),
        "ended_at": timestamp(step.ended_at),
        "seconds": _seconds(step.started_at, step.ended_at),
        "outcome": step.outcome.value if step.outcome else "open",
        "error": step.error,
    }
