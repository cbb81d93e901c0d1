# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight processes boot, delete, start, stop and refresh at random on one ledger, and are killed at random.

    python tests/soak/soak.py [--database sqlite|postgresql] [--seconds 300] [--verbs N] [--seed N] [--keep]

It prints its seed. What every transaction and every host did is recorded and then replayed by checker.py: no double
claim, no over-commitment, no MAC, address or port twice; at the end the ledger equals the hosts. Exit code 1 otherwise.
The seed decides what each process does; which of them is faster, the machine decides.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from checker import Recorded, problems
from history import recorded, watch
from hosts import LONGEST_WORK_S, Hosts
from worker import count, settle, work
from world import HOSTS, make_cloud

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.ledger.owner import Owner, proof_of_death
from berth.verbs import placing

SERVER = Path(__file__).parent.parent / "unit/ledger/postgresql_server.py"
PROCESSES = 8
# A run that has not done its verbs in time may take so many times as long.
LONGEST = 6


@contextmanager
def ledger_url(database: str, folder: Path) -> Iterator[str]:
    """Gives the URL of an empty database; a PostgreSQL server is started for it and stopped."""
    if database == "sqlite":
        yield f"sqlite:///{folder}/ledger.sqlite"
        return
    with runpy.run_path(str(SERVER))["running_server"]() as server:
        yield server.format(database="postgres")


class Herd:
    """The processes, and the hand that kills them."""

    def __init__(self, cloud: Cloud, seed: int, log: Path) -> None:
        self.cloud, self.log = cloud, log
        self.chance = random.Random(seed)
        self.alive: list[int] = []
        self.kills = 0
        self.failures: list[str] = []

    def start(self) -> None:
        seed = self.chance.randrange(2**32)
        child = os.fork()
        if child == 0:
            try:
                work(self.cloud, seed, self.log)
            except BaseException:  # noqa: BLE001  whatever it is, it is told
                sys.excepthook(*sys.exc_info())
            os._exit(1)
        self.alive.append(child)

    def kill_one(self) -> None:
        victim = self.chance.choice(self.alive)
        self.kill(victim)
        self.kills += 1

    def kill(self, victim: int) -> None:
        os.kill(victim, signal.SIGKILL)
        _pid, status = os.waitpid(victim, 0)
        self.alive.remove(victim)
        # It had ended before: with an error that is none of Berth's.
        if not os.WIFSIGNALED(status):
            self.failures.append(f"process {victim} ended by itself, status {status}; its traceback is above")

    def run(self, seconds: float, verbs: int) -> None:
        """Keeps eight processes at work, on a busy machine longer; one of them is killed every second or so."""
        begin = time.monotonic()
        try:
            while not self.failures:
                worked_s = time.monotonic() - begin
                if worked_s > seconds and (worked_s > LONGEST * seconds or sum(count(self.log).values()) >= verbs):
                    return
                while len(self.alive) < PROCESSES:
                    self.start()
                time.sleep(self.chance.uniform(0.3, 1.5))
                self.kill_one()
        finally:
            for victim in list(self.alive):
                self.kill(victim)


def collect(cloud: Cloud) -> Recorded:
    """Returns the recorded run, everything settled."""
    hosts = Hosts(cloud.path)
    with Ledger.open(cloud.ledger_url) as ledger:
        fleet = placing.read_fleet(ledger, cloud)
        rows = {row.uuid: row for row in ledger.guests()}
        left = [
            f"action {row.id} ({row.verb}) is open: {proof_of_death(Owner(**row.owner))}"
            for row in ledger.open_actions()
        ]
        return Recorded(
            ledger=recorded(ledger),
            hosts=hosts.history(),
            limits={host: fleet.host_limits(host) for host in HOSTS},
            guests={
                uuid: {"host": row.host, "state": row.vm_state.value, "task": row.task_state}
                for uuid, row in rows.items()
            },
            domains={host: {domain["uuid"]: domain["state"] for domain in hosts.domains(host)} for host in HOSTS},
            findings=[finding.message for finding in ledger.check()] + left,
        )


def soak(asked: argparse.Namespace, folder: Path) -> int:
    """Runs it and prints what happened; returns how many problems there were."""
    seed, seconds = asked.seed, asked.seconds
    print(f"seed {seed}, {asked.database}, {PROCESSES} processes, {seconds:g} s", flush=True)
    with ledger_url(asked.database, folder) as url:
        cloud = make_cloud(folder, url)
        with Ledger.open(url) as ledger:
            watch(ledger)
        log = folder / "verbs.log"
        herd = Herd(cloud, seed, log)
        herd.run(seconds, asked.verbs)
        time.sleep(2 * LONGEST_WORK_S)  # what killed controllers left at work on hosts
        settle(cloud)
        run = collect(cloud)
    found = [*herd.failures, *problems(run)]
    verbs = count(log)
    for what, number in sorted(verbs.items()):
        print(f"  {number:6d}  {what}")
    print(f"{sum(verbs.values())} verbs ended, {herd.kills} kills")
    print(f"{len(run.ledger)} events of the ledger and {len(run.hosts)} of the hosts replayed")
    print(f"{len(run.guests)} guests at the end, {len(found)} problems")
    for line in found[:50]:
        print(f"problem: {line}")
    if found:
        (folder / "recorded.json").write_text(json.dumps(asdict(run), indent=1, default=str))
    return len(found)


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--verbs", type=int, default=0, help="go on until so many have ended")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep the folder; with problems it is always kept")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="berth-soak-"))
    keep = True
    try:
        found = soak(asked, folder)
        keep = asked.keep or found > 0
        return 1 if found else 0
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
