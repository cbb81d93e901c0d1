# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays what ledger and hosts recorded, and says every moment at which a promise did not hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

AMOUNTS = ("vcpus", "memory_mib", "disk_mib")
Row = Mapping[str, Any]


@dataclass
class Recorded:
    """A whole run.

    `ledger` has the rows of claims, addresses and ports as they came (+) and went (-); `hosts` has every definition and
    removal. `limits` is what the guests of a host may use in all. The rest is the end: `guests` maps a UUID to its host
    and state, `domains` a host to its domains (UUID -> state), `findings` is what the ledger's check of itself said.
    """

    ledger: list[dict[str, Any]] = field(default_factory=list)
    hosts: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    guests: dict[str, dict[str, Any]] = field(default_factory=dict)
    domains: dict[str, dict[str, str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def problems(run: Recorded) -> list[str]:
    """Returns every broken promise, in the order of the history."""
    held, told = _replay_ledger(run)
    return [*told, *_replay_hosts(run), *_end(run, held), *(f"ledger: {line}" for line in run.findings)]


class _Claims:
    """Who has claimed what, at one moment."""

    def __init__(self, limits: Mapping[str, Mapping[str, int]]) -> None:
        self.limits = limits
        self.hosts: dict[str, set[str]] = {}
        self.used: dict[str, dict[str, int]] = {host: dict.fromkeys(AMOUNTS, 0) for host in limits}

    def add(self, row: Row) -> Iterable[str]:
        guest, host = row["guest_uuid"], row["host"]
        others = self.hosts.setdefault(guest, set())
        if others:
            yield f"double claim: guest {guest} on {host} and {', '.join(sorted(others))}"
        others.add(host)
        for amount in AMOUNTS:
            self.used[host][amount] += row[amount]
            if self.used[host][amount] > self.limits[host][amount]:
                yield f"over-commitment: {host} has {self.used[host][amount]} {amount} of {self.limits[host][amount]}"

    def remove(self, row: Row) -> None:
        self.hosts[row["guest_uuid"]].discard(row["host"])
        for amount in AMOUNTS:
            self.used[row["host"]][amount] -= row[amount]


def _replay_ledger(run: Recorded) -> tuple[dict[str, set[str]], list[str]]:
    """Returns guest -> hosts that are claimed at the end, and the problems on the way."""
    claims, taken, told = _Claims(run.limits), {}, []
    for at, row in enumerate(run.ledger):
        if row["what"] == "claims":
            found = list(claims.add(row)) if row["op"] == "+" else claims.remove(row) or []
        else:
            found = [line for key in _keys(row) for line in _take(taken, key, row)]
        told += [f"event {at}: {line}" for line in found]
    return {guest: hosts for guest, hosts in claims.hosts.items() if hosts}, told


def _keys(row: Row) -> list[tuple[str, ...]]:
    """Returns what nobody else may have."""
    if row["what"] == "ports":
        return [("port", row["host"], str(row["port"]))]
    found = [("MAC", row["mac"])]
    return [*found, ("address", row["network"], row["address"])] if row["address"] else found


def _take(taken: dict[tuple[str, ...], str], key: tuple[str, ...], row: Row) -> Iterable[str]:
    if row["op"] == "-":
        taken.pop(key, None)
    elif key in taken:
        yield f"shared {' '.join(key)}: guests {taken[key]} and {row['guest_uuid']}"
    else:
        taken[key] = row["guest_uuid"]


def _replay_hosts(run: Recorded) -> list[str]:
    told: list[str] = []
    domains: dict[str, dict[str, Row]] = {host: {} for host in run.limits}
    for at, row in enumerate(run.hosts):
        here = domains[row["host"]]
        if row["op"] == "undefine":
            here.pop(row["uuid"], None)
            continue
        elsewhere = [host for host, there in domains.items() if row["uuid"] in there]
        told += [f"host event {at}: guest {row['uuid']} is on {row['host']} and {host}" for host in elsewhere]
        running = [(host, one, other) for host, there in domains.items() for one, other in there.items()]
        for host, one, other in running:
            for what in ("macs", "addresses"):
                both = set(other[what]) & set(row[what])
                if both and one != row["uuid"]:
                    told.append(f"host event {at}: {what} {both} on {row['host']} and {host}")
        here[row["uuid"]] = row
        for amount in AMOUNTS:
            used = sum(domain[amount] for domain in here.values())
            if used > run.limits[row["host"]][amount]:
                told.append(f"host event {at}: {row['host']} runs {used} {amount} of {run.limits[row['host']][amount]}")
    return told


def _end(run: Recorded, held: Mapping[str, set[str]]) -> list[str]:
    """Returns where ledger and hosts differ at the end: by then everything was finished or undone."""
    there = {(host, uuid): state for host, domains in run.domains.items() for uuid, state in domains.items()}
    told = []
    for uuid, guest in run.guests.items():
        state = there.pop((guest["host"], uuid), None)
        wanted = {"active": "running", "stopped": "shutdown"}.get(guest["state"])
        if guest["task"] or (wanted is None and guest["state"] != "error"):
            told.append(f"end: guest {uuid} is {guest['state']}, task {guest['task']}: not at rest")
        elif wanted != state:
            told.append(f"end: lost guest {uuid}: recorded {guest['state']} on {guest['host']}, found {state}")
        claimed = {guest["host"]} if wanted else set()
        if held.get(uuid, set()) != claimed:
            told.append(f"end: guest {uuid} on {guest['host']} has claims on {held.get(uuid)}")
    told += [f"end: {host} has a domain {uuid} that the ledger does not know there" for host, uuid in there]
    return told + [f"end: a claim of guest {uuid}, which is gone" for uuid in held if uuid not in run.guests]
