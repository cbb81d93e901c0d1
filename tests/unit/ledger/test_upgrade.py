# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from berth.errors import BerthError, Busy
from berth.ledger import Ledger
from berth.ledger.upgrade import MIGRATIONS, backup

# What the first schema had.
OLD_ROWS = """
INSERT INTO hosts VALUES
 ('h1', true, '', true, '', NULL, NULL, 'm1', '{"machine_id": "m1"}', 1.0, '["compute"]', '{}', '{}');
INSERT INTO guests VALUES ('u1', 'default', 'web-1', 'web-1', 'active', NULL, 'running', 'h1', 'm1', 'tiny', NULL, 1,
 512, 1024, NULL, NULL, NULL, 'req-1', 'act-1', 1.0, 2.0, 2.0, NULL, '{"k": "v"}', '{}');
INSERT INTO claims VALUES ('u1', 'h1', 1, 512, 1024, 1.0);
INSERT INTO addresses VALUES ('u1', 0, 'lan', '52:54:00:00:00:01', '10.0.0.1');
INSERT INTO actions VALUES ('act-1', 'boot', 'default', 'req-1', 'd', '{}', '{}', 2, 1.0, 2.0, NULL);
"""


def make_old(url: str, revision: str = "0001") -> None:
    """Makes a ledger as an older version left it, with one guest."""
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in OLD_ROWS.strip().split(";\n"):
            connection.execute(text(statement.replace(": ", "\\: ").rstrip(";")))
    engine.dispose()


def test_an_older_ledger_is_brought_forward_with_its_rows(url: str) -> None:
    make_old(url)
    with Ledger.open(url) as ledger:
        row = ledger.guest("default", "web-1")
        assert (row.host, row.memory_mib, row.metadata, row.lock_reason) == ("h1", 512, {"k": "v"}, None)
        host = ledger.host("h1")
        assert (host.facts, host.groups, host.generation) == ({"machine_id": "m1"}, ("compute",), 0)
        assert ledger.usage()["h1"].guests == 1
        action = ledger.action("act-1")
        assert (action.attempts, action.resumed_at, action.since) == (2, None, 1.0)
        ledger.delete_guests(["u1"])
        assert ledger.host("h1").generation == 1
    with Ledger.open(url) as ledger:
        assert ledger.guests() == []


def test_the_file_from_before_an_upgrade_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old(f"sqlite:///{path}")
    Ledger.open(f"sqlite:///{path}").close()
    kept = tmp_path / "ledger.sqlite.0001.bak"
    assert kept.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(kept)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    assert connection.execute("SELECT name FROM guests").fetchall() == [("web-1",)]
    connection.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.sqlite", "ledger.sqlite.0001.bak"]
    # The copy is a ledger again when it is put back.
    kept.replace(path)
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert ledger.guest("default", "web-1").uuid == "u1"


def test_an_upgrade_that_fails_leaves_the_old_ledger(url: str) -> None:
    make_old(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        # The next migration cannot add what is there.
        connection.execute(text("ALTER TABLE guests ADD COLUMN locked_at INTEGER"))
    with pytest.raises(BerthError):
        Ledger.open(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        columns = connection.execute(text("SELECT * FROM hosts")).keys()
        assert "generation" not in columns
    engine.dispose()


def test_an_upgrade_waits_its_turn_and_then_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        Ledger.open(f"sqlite:///{path}", timeout_s=0.2)
    holder.execute("ROLLBACK")
    holder.close()
    Ledger.open(f"sqlite:///{path}").close()


def test_a_backup_of_a_ledger_in_use_is_whole(tmp_path: Path, kit: Any) -> None:
    path, copy = tmp_path / "ledger.sqlite", tmp_path / "copy.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        kit.add_hosts(ledger, "h1")
        kit.begin(ledger, "a")
        backup(path, copy)
        with Ledger.open(f"sqlite:///{copy}") as other:
            assert other.open_actions() == ledger.open_actions()
