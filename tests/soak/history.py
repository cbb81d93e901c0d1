# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's own record of every claim, address and port: triggers that write in the very transaction they watch.

As the ledger has one writer at a time, the order of the record is the order in which everything was true.
"""

from __future__ import annotations

import json
from typing import Any

from berth.ledger import Ledger

COLUMNS = {
    "claims": ("guest_uuid", "host", "vcpus", "memory_mib", "disk_mib"),
    "addresses": ("guest_uuid", "network", "mac", "address"),
    "ports": ("guest_uuid", "host", "port"),
}
_SQLITE_TABLE = "CREATE TABLE soak_history (seq INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, op TEXT, data TEXT)"
_POSTGRESQL = (
    "CREATE TABLE soak_history (seq BIGSERIAL PRIMARY KEY, what TEXT, op TEXT, data TEXT)",
    "CREATE FUNCTION soak_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF TG_OP <> 'INSERT' THEN INSERT INTO soak_history (what, op, data) "
    "VALUES (TG_TABLE_NAME, '-', row_to_json(OLD)::text); END IF; "
    "IF TG_OP <> 'DELETE' THEN INSERT INTO soak_history (what, op, data) "
    "VALUES (TG_TABLE_NAME, '+', row_to_json(NEW)::text); END IF; RETURN NULL; END $$",
)


def watch(ledger: Ledger) -> None:
    """Sets the triggers."""
    database = ledger._database
    statements = [_SQLITE_TABLE, *_sqlite_triggers()] if database.is_sqlite else [*_POSTGRESQL, *_postgresql_triggers()]
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def recorded(ledger: Ledger) -> list[dict[str, Any]]:
    """Returns everything that was written, in order: what (a table), op (+ or -) and the row."""
    with ledger._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT what, op, data FROM soak_history ORDER BY seq").fetchall()
    return [{"what": what, "op": op, **json.loads(data)} for what, op, data in rows]


def _sqlite_triggers() -> list[str]:
    found = []
    for table, columns in COLUMNS.items():
        for event, ops in (("INSERT", "+"), ("DELETE", "-"), ("UPDATE", "-+")):
            notes = ""
            for op in ops:
                row = "NEW" if op == "+" else "OLD"
                pairs = ", ".join(f"'{column}', {row}.{column}" for column in columns)
                notes += f"INSERT INTO soak_history (what, op, data) VALUES ('{table}', '{op}', json_object({pairs})); "
            found.append(f"CREATE TRIGGER soak_{table}_{event} AFTER {event} ON {table} BEGIN {notes}END")
    return found


def _postgresql_triggers() -> list[str]:
    return [
        f"CREATE TRIGGER soak AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION soak_note()"
        for table in COLUMNS
    ]
