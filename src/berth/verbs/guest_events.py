# SPDX-License-Identifier: GPL-3.0-or-later
"""How the journal of a guest is shown (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from berth.ledger.rows import Event, GuestRow, StepRow
from berth.ledger.store import Ledger
from berth.verbs.guest_names import find_guest, is_uuid
from berth.verbs.guest_view import timestamp


def find_any_guest(ledger: Ledger, name: str, project: str) -> GuestRow:
    """Returns a guest by name, or by UUID also when it is gone. Raises NotFound."""
    return ledger.guest_by_uuid(name) if is_uuid(name) else find_guest(ledger, name, project)


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
    """Returns one row per step for a table; an action without steps is one row."""
    rows = []
    for event in events:
        head = {"action": event.action.id, "verb": event.action.verb.value, "who": _who(event)}
        for step in event.steps:
            rows.append({**head, **_step(step)})
        if not event.steps:
            started = timestamp(event.action.started_at)
            rows.append({**head, "step": None, "started_at": started, "error": event.action.error})
    return rows


def _who(event: Event) -> str:
    owner = event.action.owner
    return f"{owner.get('user')}@{owner.get('host')}"


def _step(step: StepRow) -> dict[str, Any]:
    return {
        "step": step.step,
        "host": step.host,
        "started_at": timestamp(step.started_at),
        "seconds": None if step.ended_at is None else round(step.ended_at - step.started_at, 3),
        "outcome": step.outcome.value if step.outcome else "open",
        "error": step.error,
    }
