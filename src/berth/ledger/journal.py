# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: before a step its intent is written, after it its outcome. Crash tests stop runs between the two."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import or_, select

from berth.ledger.failpoint import reach
from berth.ledger.model import Outcome, Step
from berth.ledger.rows import ActionRow, Event, StepRow
from berth.ledger.store_actions import action_row, open_action
from berth.ledger.store_base import Store
from berth.ledger.tables import actions, guests, select_rows, steps


class JournalStore(Store):
    """The ledger's journal."""

    def begin_step(
        self, action_id: str, step: Step, guest_uuids: Collection[str] = (), *, host: str | None = None
    ) -> None:
        """Writes that a step is about to be done for these guests (none: for the action as a whole), then returns.

        Reaches the failpoint `<verb>.<step>.before`. Raises Conflict when the action is over.
        """
        with self._database.write() as connection:
            verb = open_action(connection, action_id).verb
            at = self._clock()
            row = {"action_id": action_id, "step": step.value, "host": host, "started_at": at}
            connection.execute(steps.insert(), [{**row, "guest_uuid": uuid} for uuid in guest_uuids or (None,)])
        reach(f"{verb}.{step}.before")

    def end_step(
        self,
        action_id: str,
        step: Step,
        guest_uuids: Collection[str] = (),
        *,
        outcome: Outcome = Outcome.OK,
        error: str | None = None,
    ) -> None:
        """Writes how the open intents of a step ended. Reaches `<verb>.<step>.after` before it does."""
        with self._database.read() as connection:
            verb = action_row(connection, action_id).verb
        reach(f"{verb}.{step}.after")
        whose = steps.c.guest_uuid.in_(guest_uuids) if guest_uuids else steps.c.guest_uuid.is_(None)
        open_intent = (steps.c.action_id == action_id) & (steps.c.step == step.value) & steps.c.ended_at.is_(None)
        values = {"ended_at": self._clock(), "outcome": outcome, "error": error}
        with self._database.write() as connection:
            connection.execute(steps.update().where(open_intent, whose).values(values))

    def steps_of(self, action_id: str) -> list[StepRow]:
        """Returns the steps of an action in order."""
        query = select_rows(steps, StepRow).where(steps.c.action_id == action_id).order_by(steps.c.id)
        with self._database.read() as connection:
            return [StepRow(*row) for row in connection.execute(query)]

    def steps_on(self, guest_uuids: Collection[str]) -> list[StepRow]:
        """Returns the steps that touched these guests, of all actions, in order."""
        query = select_rows(steps, StepRow).where(steps.c.guest_uuid.in_(guest_uuids)).order_by(steps.c.id)
        with self._database.read() as connection:
            return [StepRow(*row) for row in connection.execute(query)]

    def events(self, guest_uuid: str) -> list[Event]:
        """Returns the actions that touched a guest, oldest first, with its steps and those of the whole action."""
        touched = select(steps.c.action_id).where(steps.c.guest_uuid == guest_uuid)
        made = select(guests.c.action_id).where(guests.c.uuid == guest_uuid)
        query = select_rows(actions, ActionRow).where(or_(actions.c.id.in_(touched), actions.c.id.in_(made)))
        with self._database.read() as connection:
            rows = [ActionRow(*row) for row in connection.execute(query.order_by(actions.c.started_at))]
            mine = or_(steps.c.guest_uuid == guest_uuid, steps.c.guest_uuid.is_(None))
            whose = steps.c.action_id.in_([row.id for row in rows])
            found = connection.execute(select_rows(steps, StepRow).where(whose, mine).order_by(steps.c.id))
            done = [StepRow(*row) for row in found]
        return [Event(row, tuple(step for step in done if step.action_id == row.id)) for row in rows]
