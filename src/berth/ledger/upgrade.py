# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a schema and brings an older one forward, with Alembic. Loaded only when that is needed."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config

from berth.ledger import schema
from berth.ledger.database import Database

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(database: Database, found: str | None) -> None:
    """Brings the schema from `found` to the current revision in one transaction; two at once are safe."""
    if database.path is not None:
        _use_wal(database.path, database.timeout_s)
        if found is not None:
            backup(database.path, database.path.with_name(f"{database.path.name}.{found}.bak"))
    with database.write() as connection:
        if schema.version(connection) == schema.REVISION:
            return
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, schema.REVISION)


def backup(source: Path, target: Path) -> None:
    """Copies a ledger that may be in use to `target` (0600), replacing it; whole, by SQLite's online backup."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    origin, copy = sqlite3.connect(source), sqlite3.connect(part)
    try:
        origin.backup(copy)
        # A copy is one file: without this it would inherit WAL mode and its side files.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        origin.close()
        copy.close()
    part.replace(target)


def _use_wal(path: Path, timeout_s: float) -> None:
    """Sets write-ahead logging: readers never wait for the writer. It stays set in the file."""
    connection = sqlite3.connect(path, timeout=timeout_s)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError:
        pass  # a file that is no database: the transaction that follows says so
    finally:
        connection.close()
