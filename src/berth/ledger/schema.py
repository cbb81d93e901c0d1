# SPDX-License-Identifier: GPL-3.0-or-later
"""Which schema a ledger has. One SELECT when it is the current one; Alembic is loaded only when it is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from berth.errors import BerthError, Busy, NotFound
from berth.ledger.database import Database

# The newest file in migrations/versions. Revisions are numbers, so that newer and older can be told apart.
REVISION = "0003"
VERSION_TABLE = "alembic_version"
_VERSION = text("SELECT version_num FROM alembic_version")


def ensure(database: Database, *, create: bool) -> None:
    """Guarantees the current schema: makes it, or brings it forward after a backup.

    Raises NotFound without a ledger when `create` is false, BerthError for a newer ledger and for what is no ledger.
    """
    if database.path is not None:
        _ensure_file(database.path, create=create)
    if _is_current(database):
        return
    with database.read() as connection:
        found = version(connection)
    if found is not None and found > REVISION:
        raise BerthError(
            f"ledger {database.label}: its schema is {found}, this Berth knows up to {REVISION}",
            hint="use the newer Berth that wrote it, or put back the copy from before (FILE.*.bak)",
        )
    if found is None and not create:
        raise NotFound(f"no ledger in {database.label}", hint="`berth host refresh` makes it")
    from berth.ledger.upgrade import upgrade

    upgrade(database, found)


def _is_current(database: Database) -> bool:
    """Returns whether one SELECT finds the current revision. Any failure is left to the long way, which explains it."""
    try:
        with database.read() as connection:
            return connection.execute(_VERSION).scalar_one_or_none() == REVISION
    except Busy:
        raise
    except BerthError:
        return False


def version(connection: Connection) -> str | None:
    """Returns the schema's revision, None for an empty database. Raises BerthError for a database of something else."""
    inspector = inspect(connection)
    if inspector.has_table(VERSION_TABLE):
        found = connection.execute(_VERSION).scalar_one_or_none()
        return None if found is None else str(found)
    others = inspector.get_table_names()
    if others:
        raise BerthError(
            f"ledger {connection.engine.url.render_as_string(hide_password=True)}: this database is no ledger, "
            f"it has tables {', '.join(sorted(others)[:5])}",
            hint="name an empty database or a new file in berth.yml: `ledger`",
        )
    return None


def _ensure_file(path: Path, *, create: bool) -> None:
    """Makes the file with mode 0600; takes group's and others' rights away from one that has them."""
    if path.is_file():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        return
    if path.exists():
        raise BerthError(f"ledger {path}: is no file", hint="name a file in berth.yml: `ledger`")
    if not create:
        raise NotFound(f"no ledger in {path}", hint="`berth host refresh` makes it")
    if not path.parent.is_dir():
        raise NotFound(
            f"ledger {path}: its folder does not exist", hint=f"mkdir {path.parent}, or mend `ledger` in berth.yml"
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise BerthError(f"ledger {path}: {error.strerror}", hint="see the folder's owner and mode") from error
