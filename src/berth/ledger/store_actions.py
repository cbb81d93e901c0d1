# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions: one run of a verb, which guests it holds, and who took over when a run died."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, select

from berth.errors import Busy, Conflict, NotFound
from berth.ledger.model import Outcome, Verb
from berth.ledger.owner import Owner, proof_of_death, proof_of_life
from berth.ledger.rows import ActionRequest, ActionRow, Begun, GuestRow
from berth.ledger.store_base import Store, values_of
from berth.ledger.tables import actions, guests, holds, select_rows, steps


@dataclass(frozen=True)
class _Holder:
    """An action that holds some of the wanted guests, and why its run is known to be dead (None: it is not)."""

    action: ActionRow
    names: tuple[str, ...]
    proof: str | None


class ActionStore(Store):
    """The ledger's actions."""

    def begin_action(self, request: ActionRequest, owner: Owner) -> Begun:
        """Returns the action that may work on these guests now: a new one, or the same request that a dead run began.

        Other actions of dead runs lose these guests. Raises Busy, naming every holder, when one is not proved dead,
        and Conflict for guests that are locked.
        """
        names = sorted({name.casefold() for name in request.names})
        with self._database.write() as connection:
            at = self._clock()
            _refuse_locked(connection, request.project, names)
            holders = _holders(connection, request.project, names)
            _refuse_live(holders, at)
            same = next((holder.action for holder in holders if _is_same(holder, request)), None)
            replaced = [holder for holder in holders if holder.action is not same]
            action = _resumed(same, owner, at) if same else _new_action(request, owner, at)
            for holder in holders:
                _close_steps(connection, holder.action.id, at, Outcome.INTERRUPTED, holder.proof)
            for holder in replaced:
                _let_go(connection, holder.action.id, names, at)
                _end_empty(connection, holder, f"{action.id} took over", at)
            if same:
                values = {"owner": action.owner, "attempts": action.attempts, "resumed_at": at}
                connection.execute(actions.update().where(actions.c.id == action.id).values(values))
            else:
                connection.execute(actions.insert(), values_of(action))
                held = {"action_id": action.id, "project": request.project}
                rows = [{**held, "name_key": name} for name in names]
                if rows:
                    connection.execute(holds.insert(), rows)
        return Begun(action, resumed=same is not None, took_over=tuple(holder.action.id for holder in replaced))

    def end_action(self, action_id: str, error: str | None = None) -> None:
        """Ends an action, with what went wrong if something did, and lets its guests go. Again is no error.

        Steps that are still open end with it: failed of that error.
        """
        with self._database.write() as connection:
            action_row(connection, action_id)
            still_open = (actions.c.id == action_id) & actions.c.ended_at.is_(None)
            at = self._clock()
            connection.execute(actions.update().where(still_open).values(ended_at=at, error=error))
            _close_steps(connection, action_id, at, Outcome.FAILED if error else Outcome.INTERRUPTED, error)
            held = (holds.c.action_id == action_id) & holds.c.released_at.is_(None)
            connection.execute(holds.update().where(held).values(released_at=at))

    def end_abandoned(self, verb: Verb, project: str, names: Collection[str]) -> list[ActionRow]:
        """Makes dead runs of a verb let go of guests that need nothing more; returns their actions.

        Those that hold nothing any more are ended.
        """
        keys = sorted({name.casefold() for name in names})
        if not keys:
            return []
        with self._database.write() as connection:
            at = self._clock()
            holders = _holders(connection, project, keys)
            dead = [holder for holder in holders if holder.proof and holder.action.verb == verb]
            for holder in dead:
                _close_steps(connection, holder.action.id, at, Outcome.INTERRUPTED, holder.proof)
                _let_go(connection, holder.action.id, keys, at)
                _end_empty(connection, holder, "nothing was left to do", at)
        return [holder.action for holder in dead]

    def end_gone(self, action_ids: Collection[str], who: str) -> list[ActionRow]:
        """Ends these actions, whose runs a person says to be gone; returns them. The next run takes their guests.

        For machines that never return, and containers: nobody can prove the death of their processes. A run that lives
        all the same can begin no further step. Raises Conflict, naming all, for actions that are not there, are over,
        or are seen at work on this machine; then none is ended.
        """
        at = self._clock()
        with self._database.write() as connection:
            query = select_rows(actions, ActionRow).where(actions.c.id.in_(action_ids))
            rows = {row.id: row for row in (ActionRow(*values) for values in connection.execute(query))}
            found = {each: _not_gone(rows.get(each)) for each in dict.fromkeys(action_ids)}
            wrong = tuple(f"{each}: {reason}" for each, reason in found.items() if reason)
            if wrong:
                raise Conflict(
                    wrong[0] if len(wrong) == 1 else f"{len(wrong)} runs are not taken for gone",
                    details=() if len(wrong) == 1 else wrong,
                    hint="`berth events NAME` and `berth doctor` tell of runs and their actions",
                )
            for action_id in rows:
                error = f"{who} says that its run is gone"
                _close_steps(connection, action_id, at, Outcome.INTERRUPTED, error)
                held = (holds.c.action_id == action_id) & holds.c.released_at.is_(None)
                connection.execute(holds.update().where(held).values(released_at=at))
                connection.execute(actions.update().where(actions.c.id == action_id).values(ended_at=at, error=error))
        return [replace(row, ended_at=at, error=error) for row in rows.values()]

    def action(self, action_id: str) -> ActionRow:
        """Returns an action. Raises NotFound."""
        with self._database.read() as connection:
            return action_row(connection, action_id)

    def open_action(self, action_id: str) -> ActionRow:
        """Returns an action that has not ended. Raises NotFound, and Conflict for one that somebody ended meanwhile."""
        with self._database.read() as connection:
            return open_action(connection, action_id)

    def open_actions(self) -> list[ActionRow]:
        """Returns the actions that have not ended, oldest first; their runs may live or be dead (`proof_of_death`)."""
        query = select_rows(actions, ActionRow).where(actions.c.ended_at.is_(None)).order_by(actions.c.started_at)
        with self._database.read() as connection:
            return [ActionRow(*row) for row in connection.execute(query)]

    def held_names(self, action_id: str) -> tuple[str, ...]:
        """Returns the names (case folded) that an action still holds."""
        query = select(holds.c.name_key).where(holds.c.action_id == action_id, holds.c.released_at.is_(None))
        with self._database.read() as connection:
            return tuple(sorted(connection.execute(query).scalars()))


def action_row(connection: Connection, action_id: str) -> ActionRow:
    """Returns an action, within a transaction. Raises NotFound."""
    row = connection.execute(select_rows(actions, ActionRow).where(actions.c.id == action_id)).one_or_none()
    if row is None:
        raise NotFound(f"no action {action_id!r}", hint="`berth events NAME` shows the actions on a guest")
    return ActionRow(*row)


def open_action(connection: Connection, action_id: str) -> ActionRow:
    """Returns an action that has not ended, within a transaction. Raises NotFound, Conflict."""
    row = action_row(connection, action_id)
    if row.ended_at is not None:
        reason = f": {row.error}" if row.error else ""
        raise Conflict(f"action {action_id} ({row.verb}) is over{reason}", hint="run the verb again")
    return row


def write_seen(connection: Connection, row: GuestRow, what: str, host: str | None, at: float) -> None:
    """Writes into a guest's events, within a transaction, what was recorded of it because a host shows it.

    That is an action that is over, with one step of that name.
    """
    asked = ActionRequest(Verb.SYNC, row.project, (), f"req-{uuid.uuid4()}")
    action = replace(_new_action(asked, Owner.of_process(), at), ended_at=at)
    connection.execute(actions.insert(), values_of(action))
    done = {"guest_uuid": row.uuid, "step": what, "host": host, "started_at": at, "ended_at": at}
    connection.execute(steps.insert(), {"action_id": action.id, **done, "outcome": Outcome.OK})


def _holders(connection: Connection, project: str, wanted: Sequence[str]) -> list[_Holder]:
    query = (
        select(holds.c.action_id, holds.c.name_key)
        .where(holds.c.project == project, holds.c.name_key.in_(wanted), holds.c.released_at.is_(None))
        .order_by(holds.c.name_key)
    )
    names: dict[str, tuple[str, ...]] = {}
    for action_id, name in connection.execute(query):
        names[action_id] = (*names.get(action_id, ()), name)
    rows = [action_row(connection, action_id) for action_id in names]
    return [_Holder(row, names[row.id], proof_of_death(Owner(**row.owner))) for row in rows]


def _refuse_locked(connection: Connection, project: str, names: Sequence[str]) -> None:
    query = (
        select_rows(guests, GuestRow)
        .where(guests.c.project == project, guests.c.name_key.in_(names), guests.c.lock_reason.is_not(None))
        .where(guests.c.deleted_at.is_(None))
        .order_by(guests.c.name)
    )
    rows = [GuestRow(*row) for row in connection.execute(query)]
    if rows:
        lines = tuple(f"guest {row.name} is {row.lock}" for row in rows)
        raise Conflict(
            lines[0] if len(lines) == 1 else f"{len(lines)} guests are locked",
            details=() if len(lines) == 1 else lines,
            hint=f"if that is over: `berth unlock {' '.join(row.name for row in rows)}`",
        )


def _refuse_live(holders: Sequence[_Holder], at: float) -> None:
    live = [holder for holder in holders if holder.proof is None]
    if not live:
        return
    lines = tuple(
        f"{', '.join(holder.names)}: {holder.action.verb} by {Owner(**holder.action.owner)} "
        f"for {max(0, at - holder.action.since):.0f} s (action {holder.action.id})"
        for holder in live
    )
    gone = " ".join(f"--run-is-gone {holder.action.id}" for holder in live)
    raise Busy(
        lines[0] if len(lines) == 1 else f"{len(lines)} runs work on these guests",
        details=() if len(lines) == 1 else lines,
        hint="wait until it is done, or end that process on its machine and run this again; if that machine "
        f"or container never returns: `berth ledger repair {gone}`",
        data={"actions": [{"action": holder.action.id, "owner": holder.action.owner} for holder in live]},
    )


def _not_gone(row: ActionRow | None) -> str | None:
    if row is None:
        return "there is no such action"
    return "it is over" if row.ended_at is not None else proof_of_life(Owner(**row.owner))


def _is_same(holder: _Holder, request: ActionRequest) -> bool:
    asked = (request.verb, request.project, request.digest)
    found = (holder.action.verb, holder.action.project, holder.action.digest)
    return bool(request.digest) and asked == found and set(holder.names) == {name.casefold() for name in request.names}


def _new_action(request: ActionRequest, owner: Owner, at: float) -> ActionRow:
    return ActionRow(
        id=f"act-{uuid.uuid4().hex[:16]}",
        verb=request.verb,
        project=request.project,
        request_id=request.request_id,
        digest=request.digest,
        request=dict(request.request),
        owner=asdict(owner),
        attempts=1,
        started_at=at,
        ended_at=None,
        error=None,
    )


def _resumed(action: ActionRow, owner: Owner, at: float) -> ActionRow:
    values = {**values_of(action), "owner": asdict(owner), "attempts": action.attempts + 1, "resumed_at": at}
    return ActionRow(**values)


def _close_steps(connection: Connection, action_id: str, at: float, outcome: Outcome, error: str | None) -> None:
    """Closes the intents that an action left open."""
    left = (steps.c.action_id == action_id) & steps.c.ended_at.is_(None)
    connection.execute(steps.update().where(left).values(ended_at=at, outcome=outcome, error=error))


def _let_go(connection: Connection, action_id: str, names: Sequence[str], at: float) -> None:
    held = (holds.c.action_id == action_id) & holds.c.name_key.in_(names)
    connection.execute(holds.update().where(held, holds.c.released_at.is_(None)).values(released_at=at))


def _end_empty(connection: Connection, holder: _Holder, then: str, at: float) -> None:
    """Ends an action that holds nothing any more."""
    left = select(holds.c.name_key).where(holds.c.action_id == holder.action.id, holds.c.released_at.is_(None))
    if connection.execute(left.limit(1)).first() is None:
        error = f"interrupted ({holder.proof}); {then}"
        connection.execute(actions.update().where(actions.c.id == holder.action.id).values(ended_at=at, error=error))
