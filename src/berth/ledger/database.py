# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections and transactions. One writer at a time on both databases: what a transaction has read stays true.

SQLite gives that with BEGIN IMMEDIATE. On PostgreSQL every write first takes one advisory lock, so that the same
reasoning (and the same tests) hold there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, RootTransaction, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, StatementError

from berth.errors import BerthError, Busy, Conflict, InvalidInput

TIMEOUT_S = 20.0
# Any fixed number: "berth" as ASCII. Others who use advisory locks in the same database must not take it.
WRITER_LOCK = 0x6265727468
# PostgreSQL: lock_not_available, deadlock_detected, serialization_failure.
_BUSY_STATES = {"55P03", "40P01", "40001"}
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_TORN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """One database by URL: `sqlite:///path` or `postgresql+psycopg://...`."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = _parse(url)
        self.timeout_s = timeout_s
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._readers = (
            _sqlite_engine(self.url, timeout_s) if self.is_sqlite else _postgresql_engine(self.url, timeout_s)
        )
        self._writers = self._readers.execution_options(
            berth_write=True, **({} if self.is_sqlite else {"isolation_level": "READ COMMITTED"})
        )

    @property
    def path(self) -> Path | None:
        """Returns the SQLite file, None on PostgreSQL."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def label(self) -> str:
        """Returns how messages name this ledger; never a password."""
        return str(self.path) if self.is_sqlite else self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Closes every connection."""
        self._readers.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Gives a transaction that sees one state of the ledger. Raises Busy or BerthError."""
        with self._translated(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Gives the writing transaction, committed at the end unless something is raised.

        Raises Busy, InvalidInput for values that no column takes, or BerthError.
        """
        with self._translated(), self._begin_write() as connection:
            yield connection

    @contextmanager
    def _begin_write(self) -> Iterator[Connection]:
        with self._writers.connect() as connection, self._take_turn(connection):
            yield connection

    def _take_turn(self, connection: Connection) -> RootTransaction:
        """Returns the begun transaction. Tries until the timeout: SQLite may say "locked" before its own has passed."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                transaction = connection.begin()
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
                return transaction
            except DBAPIError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                connection.rollback()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._error(error) from error
        except StatementError as error:  # no driver saw it: a value that its column does not take
            raise InvalidInput(
                f"ledger {self.label}: a value that it cannot hold: {error.orig}", hint="nothing was changed"
            ) from error

    def _error(self, error: DBAPIError) -> BerthError:
        cause = str(error.orig).strip() or type(error.orig).__name__
        if _is_busy(error):
            return Busy(
                f"ledger {self.label}: locked by another process for more than {self.timeout_s:g} s",
                hint="run it again; if it lasts, see who holds the file: `fuser -v FILE`",
            )
        if isinstance(error, IntegrityError):
            return Conflict(f"ledger {self.label}: {cause}", hint="another run was faster; run it again")
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in _TORN:
            return BerthError(
                f"ledger {self.label}: the file is damaged or is no ledger: {cause}",
                hint="keep the file, put a copy of it back (FILE.*.bak), or make a new one from the hosts: "
                "`berth ledger rebuild`",
            )
        if error.connection_invalidated or not self.is_sqlite:
            return BerthError(f"ledger {self.label}: {cause}", hint="see that the database runs and lets this user in")
        return BerthError(f"ledger {self.label}: {cause}", hint="see the folder's owner, mode and free space")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in _DRIVERS and parsed.database not in (None, "", ":memory:"):
            return parsed.set(drivername=_DRIVERS[parsed.drivername])
    except ArgumentError:
        pass
    # The text is not repeated: it may hold a password.
    raise InvalidInput(
        "ledger: the URL is of no database that Berth knows; allowed: sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME",
        hint="see `ledger` in berth.yml",
    )


def _is_busy(error: DBAPIError) -> bool:
    if (getattr(error.orig, "sqlite_errorcode", 0) & 0xFF) in _LOCKED:
        return True
    return getattr(error.orig, "sqlstate", None) in _BUSY_STATES


def _sqlite_engine(url: URL, timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": timeout_s})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver's own transactions begin too late and never IMMEDIATE: they are ours to begin.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # In WAL mode FULL syncs at every commit: an intent that was written is there after a power cut.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("berth_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql_engine(url: URL, timeout_s: float) -> Engine:
    try:
        return create_engine(
            url,
            isolation_level="REPEATABLE READ",
            # The lock timeout is the session's, so that no transaction has to set it.
            connect_args={
                "connect_timeout": max(2, int(timeout_s)),
                "options": f"-c lock_timeout={int(timeout_s * 1000)}",
            },
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"ledger: PostgreSQL needs the Python package {error.name}",
            hint="pip install 'berth[postgresql]'",
        ) from error
