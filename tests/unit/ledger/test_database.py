# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from berth.errors import BerthError, Busy, InvalidInput
from berth.ledger import Ledger
from berth.ledger.database import Database
from berth.ledger.rows import BootRecord, GuestRow
from berth.ledger.tables import guests

HOLD = """
import sys, time
from berth.ledger.database import Database
from berth.ledger.tables import notes
database = Database(sys.argv[1])
with database.write() as connection:
    connection.execute(notes.insert(), {"key": "held", "value": "not committed"})
    print("held", flush=True)
    time.sleep(60)
"""


def hold(url: str) -> subprocess.Popen[str]:
    """Returns a process that is inside a writing transaction."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


def test_a_held_ledger_is_busy_for_writers_and_open_for_readers(url: str, ledger: Ledger, kit: Any) -> None:
    process = hold(url)
    try:
        with Ledger.open(url, timeout_s=0.3) as second:
            assert [row.name for row in second.hosts()] == ["h1", "h2", "h3"]
            start = time.monotonic()
            with pytest.raises(Busy, match=r"locked by another process for more than 0\.3 s") as caught:
                kit.begin(second, "a")
            assert 0.25 < time.monotonic() - start < 10
            assert caught.value.hint
    finally:
        end(process)


def test_a_writer_waits_for_its_turn(url: str, ledger: Ledger, kit: Any) -> None:
    process = hold(url)
    waker = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
    try:
        with Ledger.open(url, timeout_s=20) as second:
            assert kit.begin(second, "a").id
    finally:
        waker.wait(10)
        end(process)


def test_a_writer_killed_in_its_transaction_leaves_nothing(url: str, ledger: Ledger, kit: Any) -> None:
    process = hold(url)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    with ledger._database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM notes WHERE key = 'held'").scalar() == 0
    kit.begin(ledger, "a")


def test_a_value_that_it_cannot_hold_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match="cannot hold: 'resting'"), ledger._database.write() as connection:
        connection.execute(guests.update().values(vm_state="resting"))


def test_whatever_is_raised_in_a_transaction_undoes_it(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a")
    with pytest.raises(KeyboardInterrupt), ledger._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM holds")
        raise KeyboardInterrupt
    assert ledger.held_names(action.id) == ("a",)
    ledger.record_boot(action.id, BootRecord((kit.guest("a"),)))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_broke_is_made_again(url: str, ledger: Ledger, kit: Any) -> None:
    kit.begin(ledger, "a")
    with Ledger.open(url) as other, other._database.read() as connection:
        mine = "pid <> pg_backend_pid() AND datname = current_database()"
        ended = connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
        assert ended.fetchall()
    kit.begin(ledger, "b")
    assert len(ledger.open_actions()) == 2


def test_a_reader_sees_one_state(url: str, ledger: Ledger, kit: Any) -> None:
    count = "SELECT count(*) FROM actions"
    with Ledger.open(url) as second, second._database.read() as connection:
        assert connection.exec_driver_sql(count).scalar() == 0
        kit.begin(ledger, "a")
        assert connection.exec_driver_sql(count).scalar() == 0


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "mysql://user:secret@host/db", "oracle://x", "postgresql+asyncpg2://u:secret@h/d"],
)
def test_other_databases_are_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Database(url)
    assert "allowed: sqlite:///FILE" in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(BerthError) as caught:
        Ledger.open("postgresql+psycopg://me:secret@127.0.0.1:1/berth", timeout_s=2)
    assert "127.0.0.1" in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint


def test_rows_come_back_as_their_types(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a")
    ledger.record_boot(action.id, BootRecord((kit.guest("a"),), (kit.claim(kit.guest("a")),)))
    row = ledger.guest("default", "a")
    for name, kind in GuestRow.__annotations__.items():
        value = getattr(row, name)
        if value is not None:
            base = str(kind).split(" | ")[0]
            expected = {"Json": "dict"}.get(base, base)
            assert type(value).__name__ == expected, name
