# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers for the tests: each test that asks for `url` or `ledger` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import importlib.util
import runpy
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from berth.ledger import Ledger
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, Begun, Claim, HostUpdate, NewGuest, Resources
from berth.ledger.store_hosts import Refresh

_SERVER = runpy.run_path(str(Path(__file__).with_name("postgresql_server.py")))
LIMITS = Resources(vcpus=8, memory_mib=8192, disk_mib=100_000)


Maker = Callable[[bool], str]


@pytest.fixture(scope="session")
def make_postgresql() -> Iterator[Maker]:
    """Gives a function that makes a database, empty or with the current schema, and returns its URL."""
    if _SERVER["binaries"]() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql, pip install psycopg[binary]")
    with _SERVER["running_server"]() as server:
        engine = create_engine(server.format(database="postgres"), isolation_level="AUTOCOMMIT")

        def make(current: bool) -> str:
            name = f"t{uuid.uuid4().hex}"
            with engine.connect() as connection:
                template = "current" if current else "template0"
                connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
            return str(server.format(database=name))

        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE current"))
        Ledger.open(server.format(database="current")).close()
        yield make
        engine.dispose()


@pytest.fixture
def postgresql(make_postgresql: Maker) -> Callable[[], str]:
    """Returns a function that makes an empty database and returns its URL."""
    return lambda: make_postgresql(False)


@pytest.fixture(scope="session")
def current_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a SQLite ledger of the current schema, to copy."""
    path = tmp_path_factory.mktemp("current") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Returns the URL of a database: with the current schema for tests that use `ledger`, else empty."""
    current = "ledger" in request.fixturenames
    if request.param == "postgresql":
        return str(request.getfixturevalue("make_postgresql")(current))
    path = tmp_path / "ledger.sqlite"
    if current:
        shutil.copy(request.getfixturevalue("current_sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Gives an open ledger with the hosts h1, h2 and h3; its clock advances by one second at each look."""
    with Ledger.open(url, clock=Ticks()) as opened:
        add_hosts(opened, "h1", "h2", "h3")
        yield opened


class Ticks:
    """A clock that never gives the same time twice."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def add_hosts(ledger: Ledger, *names: str) -> None:
    updates = [HostUpdate(name, facts={"machine_id": f"machine-{name}"}, groups=("compute",)) for name in names]
    ledger.store_hosts(Refresh(updates, {}, "digest", 1.0))


def begin(ledger: Ledger, *names: str, verb: Verb = Verb.BOOT, owner: Owner | None = None, digest: str = "d") -> Begun:
    request = ActionRequest(verb, "default", names, "req-1", digest, {"names": list(names)})
    return ledger.begin_action(request, owner or Owner.of_process())


def guest(name: str, *, uuid: str | None = None, group: str | None = None, memory_mib: int = 512) -> NewGuest:
    """Returns a guest of one vCPU whose UUID is its name unless given."""
    resources = Resources(1, memory_mib, 1024)
    return NewGuest(uuid or name, "default", name, "m1.tiny", "tiny", resources, group, {"k": "v"}, {"vcpus": 1})


def claim(new: NewGuest, host: str = "h1", *, limits: Resources = LIMITS, ports: int = 0) -> Claim:
    return Claim(new.uuid, host, new.resources, limits, ports)


@pytest.fixture
def kit() -> type:
    """Returns the builders above: importlib mode has no module to import them from."""
    return Kit


class Kit:
    add_hosts = staticmethod(add_hosts)
    begin = staticmethod(begin)
    guest = staticmethod(guest)
    claim = staticmethod(claim)
    ticks = Ticks
    limits = LIMITS
