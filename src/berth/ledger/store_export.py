# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole ledger as JSON, and back: to look at it, to keep it, to move between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, func, select

from berth.errors import Conflict, InvalidInput
from berth.ledger.columns import wrong_values
from berth.ledger.rows import Json
from berth.ledger.schema import REVISION
from berth.ledger.store_base import Store
from berth.ledger.tables import metadata, select_plain, steps

FORMAT = "berth-ledger"


class ExportStore(Store):
    """The ledger as one JSON document."""

    def export_data(self) -> Json:
        """Returns everything: {"format": "berth-ledger", "schema": "0003", "exported_at": 1.0, "tables": {name: rows}}.

        A row is a map of column names; rows are in the order of their keys. What does not hold is exported as it is,
        to be put right there. Guests' plans hold their user data: keep the document as private as the ledger.
        """
        with self._database.read() as connection:
            tables = {table.name: _rows(connection, table) for table in metadata.sorted_tables}
        return {"format": FORMAT, "schema": REVISION, "exported_at": self._clock(), "tables": tables}

    def import_data(self, data: Json) -> dict[str, int]:
        """Fills an empty ledger with an export; returns table -> rows. Nothing is imported unless everything is.

        Raises InvalidInput for a document that is no export of this schema, Conflict for a ledger that is not empty.
        """
        rows_of = _tables_of(data)
        with self._database.write() as connection:
            for table in metadata.sorted_tables:
                count = connection.execute(select(func.count()).select_from(table)).scalar_one()
                if count:
                    raise Conflict(
                        f"ledger {self._database.label}: is not empty, {table.name} has {count} rows",
                        hint="import into a new ledger: name it in berth.yml",
                    )
            for table in metadata.sorted_tables:
                if rows_of[table.name]:
                    connection.execute(table.insert(), [_row_values(table, row) for row in rows_of[table.name]])
        return {name: len(rows) for name, rows in rows_of.items()}


def _rows(connection: Connection, table: Table) -> list[Json]:
    return [dict(row._mapping) for row in connection.execute(select_plain(table))]


def _row_values(table: Table, row: Json) -> Json:
    # The database numbers the steps, in the order they are in; a number of ours would be given again later.
    return {key: value for key, value in row.items() if (table, key) != (steps, "id")}


def _row_mistakes(table: Table, row: Any) -> Iterable[str]:
    columns = set(table.c.keys())
    if isinstance(row, dict) and set(row) == columns:
        return wrong_values(table, row)
    odd = ", ".join(sorted(columns ^ set(row))) if isinstance(row, dict) else type(row).__name__
    return [f"missing or unknown: {odd}"]


def _tables_of(data: Json) -> dict[str, list[Json]]:
    """Returns table -> rows. Raises InvalidInput with everything that is wrong with the document and its values."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InvalidInput("import: this is no export of a ledger", hint="`berth ledger export` writes one")
    if data.get("schema") != REVISION:
        raise InvalidInput(
            f"import: the export has schema {data.get('schema')}, this Berth imports {REVISION}",
            hint="export it again with this version, from the ledger's file brought forward by it",
        )
    found = data.get("tables")
    mistakes = []
    for table in metadata.sorted_tables:
        rows = found.get(table.name) if isinstance(found, dict) else None
        if not isinstance(rows, list):
            mistakes.append(f"table {table.name}: missing")
            continue
        for number, row in enumerate(rows, start=1):
            mistakes += [f"table {table.name}, row {number}: {mistake}" for mistake in _row_mistakes(table, row)]
    if mistakes:
        raise InvalidInput(
            f"import: {mistakes[0]}" if len(mistakes) == 1 else f"import: {len(mistakes)} mistakes",
            details=() if len(mistakes) == 1 else tuple(mistakes),
            hint="`berth ledger export` writes what can be imported",
        )
    assert isinstance(found, dict)  # noqa: S101 - told to mypy; anything else had mistakes
    return {table.name: found[table.name] for table in metadata.sorted_tables}
