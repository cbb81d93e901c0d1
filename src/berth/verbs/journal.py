# SPDX-License-Identifier: GPL-3.0-or-later
"""What action plug-ins have to do with the ledger before a host works.

They write that it is about to; the outcome is written when it has answered. And they fetch what no task may show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from berth.cloud import find_cloud
from berth.ledger.model import STEPS, Step
from berth.ledger.store import Ledger
from berth.verbs.worker import end_with_run


def write_intent(journal: Mapping[str, Any] | None, step: str, host: str) -> None:
    """Writes that `step` is about to be done on `host` for the journal's guests.

    `journal` is what the conductor put into the host's work: `cloud` (directory), `action` and `guests` (UUIDs).
    Guests of several projects have several actions, apart by spaces. Without a journal (a playbook of the user's own)
    nothing is written. Raises Conflict when the action is over.
    """
    if not journal:
        return
    end_with_run()
    with Ledger.open(find_cloud(journal["cloud"]).ledger_url) as ledger:
        actions = [ledger.action(action_id) for action_id in str(journal["action"]).split()]
        for action in actions:
            guests = list(journal["guests"])
            if len(actions) > 1:
                guests = [row.uuid for row in ledger.guests_by_uuid(guests) if row.project == action.project]
                if not guests:
                    continue
            steps: type[Step] = STEPS[action.verb]
            ledger.begin_step(action.id, steps(step), guests, host=host)


def with_user_data(journal: Mapping[str, Any] | None, plans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns guest plans with the user's own text, from the ledger of the journal.

    It may hold passwords, so it never goes through a task's result, which Ansible prints. A plan that has its text,
    from a playbook of the user's own, keeps it.
    """
    missing = [str(plan["uuid"]) for plan in plans if "user_data" not in plan] if journal else []
    if not journal or not missing:
        return [dict(plan) for plan in plans]
    with Ledger.open(find_cloud(journal["cloud"]).ledger_url) as ledger:
        texts = {row.uuid: row.plan.get("user_data") for row in ledger.guests_by_uuid(missing)}
    return [{"user_data": texts.get(str(plan["uuid"])), **plan} for plan in plans]
