# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the ledger share: its database, its clock, and how a row is looked up by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Table, select

from berth.errors import NotFound
from berth.ledger.database import Database


class Store:
    """The base of every part."""

    _database: Database
    _clock: Callable[[], float]


def values_of(row: Any) -> dict[str, Any]:
    """Returns a row's fields as column values, nested values as they are."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def put_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Inserts rows; replaces those whose primary key is there. For tables that nothing refers to by rows that go."""
    keys = [column.name for column in table.primary_key]
    present = {tuple(key) for key in connection.execute(select(*table.primary_key))}
    new = {tuple(row[key] for key in keys): row for row in rows}
    inserts = [row for key, row in new.items() if key not in present]
    updates = [row for key, row in new.items() if key in present]
    if inserts:
        connection.execute(table.insert(), inserts)
    for row in updates:
        condition = [table.c[key] == row[key] for key in keys]
        connection.execute(table.update().where(*condition).values(row))


def not_found(kind: str, name: str, known: Iterable[str], *, hint: str) -> NotFound:
    """Returns the error for a name that nothing has, with the nearest name there is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return NotFound(f"no {kind} {name!r}", hint=f"did you mean {near[0]!r}?" if near else hint)
