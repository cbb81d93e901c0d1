# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak's checker must find what it is for: a good history passes, each planted fault is named."""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_CHECKER = runpy.run_path(str(Path(__file__).with_name("checker.py")))
Recorded, problems = _CHECKER["Recorded"], _CHECKER["problems"]
LIMITS = {"vcpus": 4, "memory_mib": 1024, "disk_mib": 9000}


def claim(guest: str, host: str, op: str = "+", vcpus: int = 1) -> dict[str, Any]:
    sizes = {"vcpus": vcpus, "memory_mib": 512, "disk_mib": 2048}
    return {"what": "claims", "op": op, "guest_uuid": guest, "host": host, **sizes}


def address(guest: str, number: int, op: str = "+") -> dict[str, Any]:
    had = {"network": "lan", "mac": f"52:54:00:00:00:0{number}", "address": f"10.0.0.{number}"}
    return {"what": "addresses", "op": op, "guest_uuid": guest, **had}


def port(guest: str, number: int) -> dict[str, Any]:
    return {"what": "ports", "op": "+", "guest_uuid": guest, "host": "h1", "port": number}


def domain(op: str, guest: str, host: str, number: int) -> dict[str, Any]:
    sizes = {"vcpus": 1, "memory_mib": 512, "disk_mib": 2048}
    had = {"macs": [f"52:54:00:00:00:0{number}"], "addresses": [f"10.0.0.{number}"]}
    return {"op": op, "uuid": guest, "host": host, **sizes, **had}


def good() -> Any:
    """Returns a run in which a moved to h2 by an alternate, b stays on h1, and c came and went."""
    return Recorded(
        ledger=[
            *(claim("a", "h1"), address("a", 1), claim("b", "h1"), address("b", 2), port("b", 22000)),
            *(claim("a", "h1", "-"), claim("a", "h2"), claim("c", "h1"), address("c", 3)),
            *(claim("c", "h1", "-"), address("c", 3, "-")),
        ],
        hosts=[
            *(domain("define", "b", "h1", 2), domain("define", "a", "h2", 1)),
            *(domain("define", "c", "h1", 3), domain("undefine", "c", "h1", 3)),
        ],
        limits={"h1": dict(LIMITS), "h2": dict(LIMITS)},
        guests={
            "a": {"host": "h2", "state": "active", "task": None},
            "b": {"host": "h1", "state": "stopped", "task": None},
            "d": {"host": None, "state": "error", "task": None},
        },
        domains={"h1": {"b": "shutdown"}, "h2": {"a": "running"}},
    )


def test_a_good_history_passes() -> None:
    assert problems(good()) == []


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a double claim": (lambda run: run.ledger.insert(3, claim("a", "h2")), "double claim: guest a on h2 and h1"),
    "a claim twice": (lambda run: run.ledger.insert(3, claim("a", "h1")), "double claim: guest a on h1 and h1"),
    "over-commitment": (
        lambda run: run.ledger.insert(5, claim("e", "h1")),
        "over-commitment: h1 has 1536 memory_mib of 1024",
    ),
    "one vCPU too many": (
        lambda run: run.ledger.__setitem__(0, claim("a", "h1", vcpus=5)),
        "over-commitment: h1 has 5 vcpus of 4",
    ),
    "a shared MAC": (
        lambda run: run.ledger.insert(9, {**address("c", 4), "mac": "52:54:00:00:00:01"}),
        "shared MAC 52:54:00:00:00:01: guests a and c",
    ),
    "a shared address": (
        lambda run: run.ledger.insert(9, {**address("c", 4), "address": "10.0.0.2"}),
        "shared address lan 10.0.0.2: guests b and c",
    ),
    "a shared port": (lambda run: run.ledger.append(port("a", 22000)), "shared port h1 22000: guests b and a"),
    "a guest on two hosts": (
        lambda run: run.hosts.insert(2, domain("define", "a", "h1", 1)),
        "guest a is on h1 and h2",
    ),
    "a MAC on two hosts": (lambda run: run.hosts.append(domain("define", "e", "h2", 2)), "macs"),
    "a host that runs too much": (
        lambda run: [run.hosts.append(domain("define", guest, "h2", number)) for guest, number in (("e", 5), ("f", 6))],
        "h2 runs 1536 memory_mib of 1024",
    ),
    "a lost guest": (lambda run: run.domains["h2"].clear(), "lost guest a: recorded active on h2, found None"),
    "a guest that is off": (lambda run: run.domains["h2"].update(a="shutdown"), "lost guest a"),
    "a forgotten guest": (lambda run: run.guests.pop("a"), "h2 has a domain a that the ledger does not know there"),
    "a lost claim": (lambda run: run.ledger.append(claim("b", "h1", "-")), "guest b on h1 has claims on None"),
    "a claim left behind": (lambda run: run.ledger.append(claim("c", "h1")), "a claim of guest c, which is gone"),
    "a guest left half made": (lambda run: run.guests["a"].update(state="building"), "guest a is building"),
    "a task left": (lambda run: run.guests["b"].update(task="deleting"), "task deleting: not at rest"),
    "what the ledger says of itself": (lambda run: run.findings.append("a step is open"), "ledger: a step is open"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str) -> None:
    plant, said = FAULTS[name]
    run = copy.deepcopy(good())
    plant(run)
    assert any(said in line for line in problems(run)), problems(run)
