# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger as one object: opens it, and joins what the store_* files know."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from berth.ledger import schema
from berth.ledger.database import TIMEOUT_S, Database
from berth.ledger.journal import JournalStore
from berth.ledger.store_actions import ActionStore
from berth.ledger.store_boot import BootStore
from berth.ledger.store_check import CheckStore
from berth.ledger.store_export import ExportStore
from berth.ledger.store_groups import GroupStore
from berth.ledger.store_guests import GuestStore
from berth.ledger.store_hosts import HostStore
from berth.ledger.store_images import ImageStore
from berth.ledger.store_rebuild import RebuildStore


class Ledger(
    HostStore,
    GuestStore,
    BootStore,
    ActionStore,
    JournalStore,
    ImageStore,
    GroupStore,
    CheckStore,
    ExportStore,
    RebuildStore,
):
    """The record of one cloud. Every method is one transaction: all of it happened or nothing.

    Every method raises Busy when another process holds the ledger for longer than the timeout, and BerthError when the
    database cannot be used.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = True,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> Ledger:
        """Returns the ledger of `url`, its schema current. A new SQLite file gets mode 0600.

        Raises NotFound when there is none and `create` is false, BerthError for a damaged or newer one, InvalidInput
        for a URL that does not hold, Busy.
        """
        database = Database(url, timeout_s=timeout_s)
        try:
            schema.ensure(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def close(self) -> None:
        """Closes the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
