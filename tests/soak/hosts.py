# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated hosts that obey the contract of the host modules (docs/data.md, sections 1, 2 and 4).

Their domains are in a SQLite file of their own, so that they outlive every controller that is killed. A call holds the
locks of its guests as the real module does, also when its controller is killed while it works.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Item = dict[str, Any]
AMOUNTS = ("vcpus", "memory_mib", "disk_mib")
SCHEMA = """
CREATE TABLE domains (host TEXT, uuid TEXT, state TEXT, data TEXT, PRIMARY KEY (host, uuid));
CREATE TABLE history (seq INTEGER PRIMARY KEY AUTOINCREMENT, op TEXT, host TEXT, uuid TEXT, data TEXT);
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIAybggDDnHpMEjC9y0Jn5kcJ3sYPfwbCu4Kpyz3X2v7 host"
LONGEST_WORK_S = 0.3


class Hosts:
    """All hosts of the fleet. `folder` holds their file and their locks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "hosts.sqlite"

    def make(self) -> None:
        """Makes the file. Domains come by `present` alone."""
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)

    def present(self, host: str, plans: Sequence[Mapping[str, Any]], *, ill: bool = False) -> list[Item]:
        """Returns what became of each guest: defined and running, or refused by the host's own check.

        An `ill` host makes nothing new; what it has it does not deny.
        """
        with self._locked(host, plans):
            return self._apart(lambda: [self._define(host, plan, ill=ill) for plan in plans])

    def absent(self, host: str, guests: Sequence[Mapping[str, Any]]) -> list[Item]:
        """Returns what became of each guest: gone."""
        with self._locked(host, guests):
            return self._apart(lambda: [self._undefine(host, guest["uuid"]) for guest in guests])

    def power(self, host: str, guests: Sequence[Mapping[str, Any]], state: str) -> list[Item]:
        """Returns what became of each guest: running or shutdown, or refused where there is no domain."""
        with self._locked(host, guests):
            return self._apart(lambda: [self._set_state(host, guest["uuid"], state) for guest in guests])

    def domains(self, host: str) -> list[Item]:
        """Returns the domains of a host as its facts have them."""
        with self._connect() as connection:
            rows = connection.execute("SELECT uuid, state, data FROM domains WHERE host = ?", (host,)).fetchall()
        return [{"uuid": uuid, "state": state, **json.loads(data)} for uuid, state, data in rows]

    def history(self) -> list[Item]:
        """Returns every definition and removal in order."""
        with self._connect() as connection:
            rows = connection.execute("SELECT op, host, uuid, data FROM history ORDER BY seq").fetchall()
        return [{"op": op, "host": host, "uuid": uuid, **json.loads(data or "{}")} for op, host, uuid, data in rows]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _locked(self, host: str, guests: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        files = []
        try:
            for uuid in sorted(guest["uuid"] for guest in guests):
                files.append(os.open(self.folder / f"{host}-{uuid}.lock", os.O_CREAT | os.O_RDWR))
                fcntl.flock(files[-1], fcntl.LOCK_EX)
            yield
        finally:
            for file in files:
                os.close(file)

    def _apart(self, work: Callable[[], list[Item]]) -> list[Item]:
        """Does the work here or, sometimes, in a process of its own that a killed controller leaves behind.

        The locks go along: they are held until both have closed them.
        """
        if random.random() > 0.2:
            return work()
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            time.sleep(random.uniform(0, LONGEST_WORK_S))
            with os.fdopen(writable, "w") as stream:
                json.dump(work(), stream)
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable) as stream:
            said = stream.read()
        os.waitpid(child, 0)
        done: list[Item] = json.loads(said)
        return done

    def _define(self, host: str, plan: Mapping[str, Any], *, ill: bool) -> Item:
        data = {
            **{key: plan[key] for key in ("vcpus", "memory_mib")},
            "name": plan["domain_name"],
            "disk_mib": plan["disk_gib"] * 1024,
            "macs": [network["mac"] for network in plan["networks"]],
            "addresses": [network["address"] for network in plan["networks"] if network["kind"] != "user"],
            "record": {"cloud": plan["cloud"], "server_group": plan["server_group"], "project": plan["project"]},
        }
        with self._transaction() as connection:
            rows = connection.execute("SELECT uuid, data FROM domains WHERE host = ?", (host,)).fetchall()
            others = {uuid: json.loads(text) for uuid, text in rows}
            mine = others.pop(plan["uuid"], None)
            reason = "start" if ill else _refusal(data, plan, list(others.values()))
            if mine is None and reason:
                return _refused(plan["uuid"], reason)
            row = (host, plan["uuid"], "running", json.dumps(data))
            connection.execute("INSERT OR REPLACE INTO domains VALUES (?, ?, ?, ?)", row)
            if mine is None:
                _note(connection, "define", host, plan["uuid"], data)
        return {"uuid": plan["uuid"], "ok": True, "state": "running", "ssh_host_key": KEY, "steps": ["check", "start"]}

    def _undefine(self, host: str, uuid: str) -> Item:
        with self._transaction() as connection:
            gone = connection.execute("DELETE FROM domains WHERE host = ? AND uuid = ?", (host, uuid)).rowcount
            if gone:
                _note(connection, "undefine", host, uuid, {})
        return {"uuid": uuid, "ok": True, "state": "absent", "steps": ["stop", "undefine", "files"]}

    def _set_state(self, host: str, uuid: str, state: str) -> Item:
        with self._transaction() as connection:
            there = connection.execute(
                "UPDATE domains SET state = ? WHERE host = ? AND uuid = ?", (state, host, uuid)
            ).rowcount
        if not there:
            return {"uuid": uuid, "ok": False, "state": "absent", "message": "this host has no such domain"}
        return {"uuid": uuid, "ok": True, "state": state, "changed": True}


def _refusal(data: Item, plan: Mapping[str, Any], others: Sequence[Item]) -> str:
    """Returns why the host's own check refuses a guest, or nothing."""
    for amount in AMOUNTS:
        if sum(other[amount] for other in others) + data[amount] > plan["limits"][amount]:
            return amount
    if any(other["name"] == data["name"] for other in others):
        return "name"
    if any(set(other["macs"]) & set(data["macs"]) for other in others):
        return "mac"
    policy = plan.get("group_policy") or {}
    same = [other for other in others if other["record"] == data["record"]]
    if policy.get("policy") == "anti-affinity" and len(same) >= policy["max_server_per_host"]:
        return "group"
    return ""


def _refused(uuid: str, reason: str) -> Item:
    kind = "request" if reason in ("name", "mac") else "host"
    said = {"kind": kind, "reason": reason, "message": f"refused: {reason}"}
    return {"uuid": uuid, "ok": False, "state": "absent", "steps": ["check"], **said}


def _note(connection: sqlite3.Connection, op: str, host: str, uuid: str, data: Item) -> None:
    connection.execute(
        "INSERT INTO history (op, host, uuid, data) VALUES (?, ?, ?, ?)", (op, host, uuid, json.dumps(data))
    )
