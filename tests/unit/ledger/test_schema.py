# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Select, create_engine, literal, select, text

from berth.errors import BerthError, Conflict, NotFound
from berth.ledger import Ledger, schema
from berth.ledger.rows import BootRecord
from berth.ledger.tables import PARTIAL_INDEXES, actions, guests, metadata
from berth.ledger.upgrade import MIGRATIONS


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_the_migrations_make_the_tables_of_this_version(url: str) -> None:
    Ledger.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        opts = {
            "compare_server_default": True,
            "include_object": lambda _item, name, _kind, _reflected, _other: name not in PARTIAL_INDEXES,
        }
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize(
    "twice",
    [
        "INSERT INTO holds (action_id, project, name_key) SELECT 'other', project, name_key FROM holds",
        "INSERT INTO guests (uuid, name, {rest}) SELECT 'u2', 'A', {rest} FROM guests",
    ],
)
def test_the_database_itself_keeps_names_unique(ledger: Ledger, kit: Any, twice: str) -> None:
    action = kit.begin(ledger, "a")
    ledger.record_boot(action.id, BootRecord((kit.guest("a"),)))
    with ledger._database.write() as connection:
        connection.execute(actions.insert().from_select(list(actions.c.keys()), _copy_of_action("other")))
    columns = [column.name for column in guests.c if column.name not in ("uuid", "name")]
    with pytest.raises(Conflict, match=r"(?i)unique"), ledger._database.write() as connection:
        connection.exec_driver_sql(twice.format(rest=", ".join(f'"{name}"' for name in columns)))


def _copy_of_action(new_id: str) -> Select[Any]:
    return select(*(literal(new_id) if column.name == "id" else column for column in actions.c))


def test_the_revision_is_the_newest_and_revisions_are_numbers_in_order() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert revisions[0] == schema.REVISION
    assert revisions == sorted(revisions, reverse=True)
    assert all(len(revision) == 4 and revision.isdigit() for revision in revisions)


def test_a_new_ledger_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old = os.umask(0)
    try:
        with Ledger.open(sqlite_url(path)) as ledger:
            ledger.ensure_group("default", "g", "affinity")  # type: ignore[arg-type]
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
            with ledger._database.read() as connection:
                found = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "synchronous", "foreign_keys")
                ]
    finally:
        os.umask(old)
    assert modes == {"ledger.sqlite": 0o600, "ledger.sqlite-wal": 0o600, "ledger.sqlite-shm": 0o600}
    assert found == ["wal", 2, 1]


def test_a_ledger_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(sqlite_url(path)).close()
    path.chmod(0o644)
    Ledger.open(sqlite_url(path)).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_newer_ledger_is_refused_and_left_alone(url: str) -> None:
    Ledger.open(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(BerthError, match=f"its schema is 9999, this Berth knows up to {schema.REVISION}") as caught:
        Ledger.open(url)
    assert "newer Berth" in caught.value.hint


def test_a_database_of_something_else_is_refused_and_left_alone(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (name TEXT)"))
    with pytest.raises(BerthError, match="is no ledger, it has tables recipes"):
        Ledger.open(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recipes")).scalar() == 0
    engine.dispose()


def test_without_create_there_must_be_a_ledger(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no ledger in") as caught:
        Ledger.open(url, create=False)
    assert "berth host refresh" in caught.value.hint
    assert not (tmp_path / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    "content", [b"not a database, but as long as a header: " * 10, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_refused_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(BerthError, match="damaged or is no ledger") as caught:
        Ledger.open(sqlite_url(path))
    assert "berth ledger rebuild" in caught.value.hint
    assert path.read_bytes() == content


def test_a_torn_ledger_is_told_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(sqlite_url(path)).close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(4096, size, 4096):
            file.seek(page)
            file.write(os.urandom(2048))
    with pytest.raises(BerthError, match="damaged") as caught, Ledger.open(sqlite_url(path)) as ledger:
        ledger.guests()
    assert "berth ledger rebuild" in caught.value.hint


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none" / "ledger.sqlite", "its folder does not exist"),
        (lambda folder: folder, "is no file"),
    ],
)
def test_a_path_that_cannot_be_a_ledger(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(BerthError, match=message):
        Ledger.open(sqlite_url(make(tmp_path)))  # type: ignore[operator]


def test_two_processes_make_one_ledger(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.sqlite")
    code = f"from berth.ledger import Ledger; Ledger.open({url!r}).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.REVISION,)]
    connection.close()


def test_reading_a_current_ledger_loads_nothing_heavy(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.sqlite")
    Ledger.open(url).close()
    code = (
        "import sys\nfrom berth.ledger import Ledger\n"
        f"with Ledger.open({url!r}) as ledger:\n"
        "    ledger.guests(), ledger.hosts(), ledger.usage(), ledger.open_actions()\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    loaded = {name.partition(".")[0] for name in eval(done.stdout)}
    assert "sqlalchemy" in loaded
    assert "sqlalchemy.dialects.postgresql" not in done.stdout
    assert not loaded & {
        "alembic",
        "ansible",
        "ansible_runner",
        "jinja2",
        "libvirt",
        "numpy",
        "psycopg",
        "pydantic",
        "rich",
        "typer",
    }
