# SPDX-License-Identifier: GPL-3.0-or-later
"""Two idle guests, and what has to be true of them after a fault: what the crash and fault matrices have in common."""

from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

from berth.ledger.model import Verb
from lab.cloud import LabCloud

NAMES = ("crash-1", "crash-2")
BOOT = ("boot", "crash", "--count", "2", "--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
DELETE = ("delete", "--yes", *NAMES)


def points(verb: Verb, steps: type[StrEnum]) -> list[str]:
    """The failpoints of a verb: before and after each of its steps."""
    return [f"{verb}.{step}.{when}" for step in steps for when in ("before", "after")]


def assert_two_guests(cloud: LabCloud, guests: list[dict[str, Any]], state: str = "active") -> None:
    """Two whole guests, each on the one host that the ledger says, and nothing that is still being done."""
    power = "running" if state == "active" else "shutdown"
    assert {guest["name"]: (guest["state"], guest["power"], guest["task"]) for guest in guests} == {
        name: (state, power, None) for name in NAMES
    }
    placed = sorted((guest["host"], guest["uuid"], power) for guest in guests)
    assert on_hosts(cloud) == placed
    rows = cloud.taken()
    assert sorted((host, uuid) for uuid, host in rows["claims"]) == [row[:2] for row in placed]
    assert len(rows["guests"]) == len({address for _uuid, _network, address in rows["addresses"]}) == len(NAMES)
    assert [rows[table] for table in ("holds", "open actions", "open steps")] == [[], [], []]
    assert cloud.local() == []


def assert_where_the_ledger_says(cloud: LabCloud) -> None:
    """Each guest's domain, folder and log are on the one host that the ledger says, whatever its state."""
    recorded = sorted((guest["host"], guest["uuid"]) for guest in cloud.guests().values())
    assert [row[:2] for row in on_hosts(cloud)] == recorded
    assert sorted((host, uuid) for uuid, host in cloud.taken()["claims"]) == recorded
    assert [cloud.taken()[table] for table in ("holds", "open actions", "open steps")] == [[], [], []]


def assert_nothing_is_left(cloud: LabCloud) -> None:
    """Nothing on the hosts, in the ledger and on this machine."""
    assert on_hosts(cloud) == []
    assert not any(cloud.taken().values())
    assert cloud.local() == []


def on_hosts(cloud: LabCloud) -> list[tuple[str, str, str]]:
    """Host, UUID and state of every guest: its domain, folder and console log, which go together."""
    command = (
        "for uuid in $(virsh -q list --all --uuid); do echo $uuid $(virsh domstate $uuid); done; "
        "for part in /var/lib/berth/instances /var/lib/berth/consoles /root/.ansible/tmp; do echo --; ls $part; done"
    )
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda host: host.exec(command, check=False).stdout, cloud.lab.hosts))
    found = []
    for host, answer in zip(cloud.lab.hosts, answers, strict=True):
        domains, folders, logs, temporary = answer.split("--\n")
        states = dict(line.split(" ", 1) for line in domains.splitlines())
        assert sorted(states) == sorted(folders.split()) == sorted(log.removesuffix(".log") for log in logs.split())
        assert temporary == ""
        found += [(host.name, uuid, state.replace("shut off", "shutdown")) for uuid, state in states.items()]
    return sorted(found)
