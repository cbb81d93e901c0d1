# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims per second on SQLite and PostgreSQL against the bare transaction through the driver, and what reads cost.

    python benchmarks/ledger.py [--seconds 3] [--writers 1,8] [--guests 10000] [--hosts 500]

A claim is one transaction of the ledger that records one guest with its claim and its address (`record_boot`). The bare
transaction inserts the same three rows with the driver alone, as durable, and checks nothing. Both run in turn on the
same machine: the ratio is the result, the absolute figures are the machine's. PostgreSQL is a private server of the
distribution's binaries with its defaults, started and stopped here; without them its part is left out. `--writers ""`
leaves all of that out.

Then `berth list`, `show` and `place` on a cloud of that many guests and hosts, each as a process of its own: seconds
from start to end, peak memory, and which of the heavy imports it made.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.cloud import find_cloud
from berth.ledger import Ledger
from berth.ledger.model import PowerState, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import (
    ActionRequest,
    AddressWish,
    BootRecord,
    Claim,
    GuestResult,
    HostUpdate,
    NewGuest,
    Resources,
)
from berth.ledger.store_hosts import Refresh

BERTH = str(Path(sys.executable).parent / "berth")
SERVER = Path(__file__).parent.parent / "tests/unit/ledger/postgresql_server.py"
ROOMY = Resources(10**6, 10**9, 10**9)
SIZE = Resources(1, 512, 1024)
ROUNDS = 3
HEAVY = ("alembic", "ansible", "ansible_runner", "asyncio", "jinja2", "libvirt", "numpy", "psycopg", "pydantic")
HEAVY += ("rich", "sqlalchemy", "typer", "yaml")


def new_guest(name: str) -> NewGuest:
    """Returns a guest whose plan has the size of a real one."""
    plan = {
        "name": name,
        "public_keys": ["ssh-ed25519 " + "A" * 68],
        "networks": [{"network": "lan"}],
        "machine": "q35",
    }
    return NewGuest(str(uuid.uuid4()), "default", name, "m1.small", "tiny", SIZE, plan=plan)


def record(guest: NewGuest, host: str) -> BootRecord:
    """Returns what one claim books."""
    wish = AddressWish(guest.uuid, 0, "lan", "10.0.0.1", "10.15.255.254")
    return BootRecord((guest,), (Claim(guest.uuid, host, SIZE, ROOMY),), (wish,))


def claim_until(url: str, number: int, seconds: float) -> int:
    """Returns how many claims one writer made."""
    with Ledger.open(url) as ledger:
        names = [f"w{number}-{index}" for index in range(int(600 * seconds))]
        action = ledger.begin_action(
            ActionRequest(Verb.BOOT, "default", tuple(names), f"r{number}"), Owner.of_process()
        )
        print("ready", flush=True)
        sys.stdin.readline()
        end, done = time.monotonic() + seconds, 0
        while time.monotonic() < end and done < len(names):
            ledger.record_boot(action.id, record(new_guest(names[done]), f"h{done % 8}"))
            done += 1
        ledger.end_action(action.id)
    return done


def bare_until(url: str, number: int, seconds: float) -> int:
    """Returns how many bare transactions one writer made: the rows of a claim, by the driver, nothing checked."""
    with Ledger.open(url) as ledger:
        database = ledger._database
        columns = "uuid project name name_key vm_state power_state flavor image vcpus memory_mib disk_mib request_id"
        names = [*columns.split(), "action_id", "created_at", "updated_at", "metadata", "plan"]
        mark = "?" if database.is_sqlite else "%s"
        guest_sql = f"INSERT INTO guests ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
        claim_sql = f"INSERT INTO claims VALUES ({', '.join([mark] * 6)})"
        address_sql = f"INSERT INTO addresses VALUES ({', '.join([mark] * 5)})"
        plan = json.dumps(new_guest("x").plan)
        with database._readers.raw_connection() as pooled:  # type: ignore[attr-defined]
            cursor = pooled.driver_connection.cursor()
            print("ready", flush=True)
            sys.stdin.readline()
            end, done = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                one, name = str(uuid.uuid4()), f"b{number}-{done}"
                address = f"10.{16 + number}.{done >> 8}.{done & 255}"
                guest = (one, "default", name, name, "building", "nostate", "m1.small", "tiny", 1, 512, 1024, "r", "a")
                if database.is_sqlite:
                    cursor.execute("BEGIN IMMEDIATE")
                cursor.execute(guest_sql, (*guest, 1.0, 1.0, "{}", plan))
                cursor.execute(claim_sql, (one, f"h{done % 8}", 1, 512, 1024, 1.0))
                cursor.execute(address_sql, (one, 0, "lan", f"{number}/{done}", address))
                cursor.execute("COMMIT")
                done += 1
    return done


def per_second(what: str, url: str, writers: int, seconds: float) -> float:
    """Returns the transactions per second of `writers` processes that start together."""
    command = [sys.executable, __file__, "--writer", what, url, "--seconds", str(seconds)]
    processes = [
        subprocess.Popen([*command, "--number", str(number)], stdin=-1, stdout=-1, text=True)
        for number in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(int(process.communicate(timeout=seconds + 60)[0]) for process in processes) / seconds


def compare(kind: str, new_url: Callable[[], str], writers: list[int], seconds: float) -> None:
    """Prints claims and bare transactions per second, measured in turn, each in a new ledger."""
    for count in writers:
        rates: dict[str, list[float]] = {"claim": [], "bare": []}
        for _round in range(ROUNDS):
            for what, found in rates.items():
                url = new_url()
                with Ledger.open(url) as ledger:
                    hosts = [HostUpdate(f"h{index}", {"machine_id": str(index)}) for index in range(8)]
                    ledger.store_hosts(Refresh(hosts, {}, "d", 1.0))
                found.append(per_second(what, url, count, seconds))
        claim, bare = statistics.median(rates["claim"]), statistics.median(rates["bare"])
        spread = " ".join(f"{rate:.0f}" for rate in rates["claim"])
        told = f"{claim:6.0f} claims/s ({spread}), bare {bare:6.0f}/s: {claim / bare:.2f} of it"
        print(f"{kind:<10} {count} writers: {told}")


def fill(url: str, guests: int, hosts: int) -> None:
    """Makes a ledger of that size, its guests active and its hosts as placement wants them."""
    with Ledger.open(url) as ledger:
        now = time.time()
        ledger.store_hosts(Refresh([full_host(index, now) for index in range(hosts)], {}, "d", now))
        new = [new_guest(f"g{index}") for index in range(guests)]
        names = tuple(guest.name for guest in new)
        action = ledger.begin_action(ActionRequest(Verb.BOOT, "default", names, "r"), Owner.of_process())
        claims = tuple(Claim(guest.uuid, f"h{index % hosts}", SIZE, ROOMY) for index, guest in enumerate(new))
        start = time.perf_counter()
        ledger.record_boot(action.id, BootRecord(tuple(new), claims))
        print(f"one transaction of {guests} guests: {time.perf_counter() - start:.2f} s")
        ledger.finish_guests([GuestResult(guest.uuid, VmState.ACTIVE, PowerState.RUNNING) for guest in new])
        ledger.end_action(action.id)


def full_host(index: int, now: float) -> HostUpdate:
    """Returns a host with facts of the size of real ones."""
    facts = {
        "version": 1,
        "collected_at": now,
        "clock_offset_s": 0.0,
        "machine_id": str(index),
        "cpu": {"total": 64, "features": [f"feature{number}" for number in range(80)]},
        "memory_mib": 512_000,
        "storage": {"disk_total_mib": 10_000_000, "disk_free_mib": 9_000_000, "filesystem": "ext4"},
        "virtualization": {"domain_type": "kvm", "kvm_works": True},
        "domains": [],
    }
    return HostUpdate(f"h{index}", facts, None, ("compute",))


# What is measured, each as a process of its own: bare Python, the library, and the real verbs.
READS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "import only": (),
    "list": ("list", "--format", "json"),
    "show": ("show", "g7"),
    "place": ("place", "new", "--flavor", "m1.small", "--image", "tiny"),
}
CODE = {"nothing": "", "import only": "from berth.ledger import Ledger"}
VERB = "from berth.cli.app import app\ntry:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code"
TAIL = (
    "\nimport sys\n"
    "status = dict(line.split(':') for line in open('/proc/self/status'))\n"
    f"print(status['VmHWM'].split()[0], *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
)


def read_costs(cloud: Path) -> None:
    """Prints whole-process time, memory and heavy imports of `list`, `show` and `place`."""
    for name, arguments in READS.items():
        command = [sys.executable, "-c", CODE.get(name, VERB) + TAIL, "--cloud", str(cloud), *arguments]
        times, said = [], ""
        for _round in range(5):
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            times.append(time.perf_counter() - start)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            said = done.stderr.splitlines()[-1]
        memory_kib, *loaded = said.split()
        print(f"{name:<12} {min(times):.2f} s, {int(memory_kib) // 1024} MiB, heavy: {', '.join(loaded) or 'none'}")


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """Gives kind -> a function that returns the URL of a new, durable database."""
    kinds: dict[str, Callable[[], str]] = {"SQLite": lambda: f"sqlite:///{folder}/{uuid.uuid4().hex}.sqlite"}
    server = runpy.run_path(str(SERVER)) if SERVER.is_file() else {}
    if not server or server["binaries"]() is None:
        print("PostgreSQL: left out, its binaries are not here")
        yield kinds
        return
    import psycopg

    with server["running_server"](durable=True) as template:

        def new_database() -> str:
            name = f"b{uuid.uuid4().hex}"
            url = template.format(database="postgres").replace("postgresql+psycopg", "postgresql")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            return str(template.format(database=name))

        yield {**kinds, "PostgreSQL": new_database}


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measures the ledger.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--writers", default="1,8")
    parser.add_argument("--guests", type=int, default=10_000)
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where SQLite's files go: the disk makes the figures")
    parser.add_argument("--writer", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.writer:
        what, url = given.writer
        print({"claim": claim_until, "bare": bare_until}[what](url, given.number, given.seconds))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, databases(Path(folder)) as kinds:
        print(f"{os.cpu_count()} cores, median of {ROUNDS} rounds of {given.seconds:g} s")
        for kind, new_url in kinds.items():
            compare(kind, new_url, [int(count) for count in given.writers.split(",") if count], given.seconds)
        cloud = Path(folder) / "cloud"
        subprocess.run([BERTH, "init", str(cloud)], check=True, stdout=subprocess.DEVNULL)
        fill(find_cloud(str(cloud)).ledger_url, given.guests, given.hosts)
        read_costs(cloud)


if __name__ == "__main__":
    main()
