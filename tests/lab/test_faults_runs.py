# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs at once, runs that are interrupted, and a ledger that somebody else holds."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from berth.units import MIB_PER_GIB
from lab.cloud import Answer, LabCloud
from lab.held import Held

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
# What is held at a failpoint ends itself after 60 seconds.
GONE_S = 120


@pytest.fixture(autouse=True)
def nothing_is_left(cloud: LabCloud) -> Iterator[None]:
    """Neither in the ledger nor on this machine."""
    yield
    cloud.delete_all()
    assert not any(cloud.taken().values())
    assert cloud.local() == []


def boot(cloud: LabCloud, name: str, *options: str, at: str | None = None) -> Held:
    return Held(cloud, "boot", name, *IDLE, *options, "--format", "json", at=at)


def test_two_boots_at_once(cloud: LabCloud) -> None:
    runs = [boot(cloud, name, "--count", "2") for name in ("left", "right")]
    answers = [run.answer() for run in runs]
    assert [answer.status for answer in answers] == [0, 0], answers
    guests = [guest for answer in answers for guest in answer.data]
    assert {guest["state"] for guest in guests} == {"active"}
    assert len({address for guest in guests for address in guest["addresses"]}) == 4


def test_the_last_room_is_given_once(cloud: LabCloud) -> None:
    storage = cloud.json("host", "show", "h1")["facts"]["storage"]
    # More than half of a disk that is not really written: two never fit.
    disk_gib = storage["disk_total_mib"] // MIB_PER_GIB * 6 // 10
    cloud.add("flavors", {"name": "m1.most", "vcpus": 1, "memory_mib": 256, "disk_gib": disk_gib})
    words = ("--flavor", "m1.most", "--image", "idle", "--network", "lan", "--host", "h1", "--format", "json")
    answers = [run.answer() for run in [Held(cloud, "boot", name, *words) for name in ("one", "two")]]
    by_status: dict[int, Answer] = {answer.status: answer for answer in answers}
    assert set(by_status) == {0, 5}, answers
    told = " ".join(by_status[5].error["details"])
    assert "h1" in told and str(disk_gib * MIB_PER_GIB) in told.replace(" ", "")
    assert len(cloud.guests()) == 1


def test_one_name_for_two_runs(cloud: LabCloud) -> None:
    run = boot(cloud, "name", at="boot.guest.before").wait()
    other = cloud.refused("boot", "name", *IDLE, "--meta", "other=1", status=4)
    assert "guest name is there already: building" in other["message"]
    same = cloud.refused("boot", "name", *IDLE, status=8)
    assert "boot by" in same["message"] and same["data"]["actions"][0]["owner"]["pid"]
    delete = cloud.refused("delete", "--yes", "name", status=8)
    assert same["data"]["actions"] == delete["data"]["actions"]
    stop = cloud.refused("stop", "name", status=4)
    assert "building" in stop["message"]
    run.kill()
    (guest,) = cloud.json("boot", "name", *IDLE)
    assert guest["state"] == "active"


def test_a_name_that_was_only_begun_is_held_as_well(cloud: LabCloud) -> None:
    run = boot(cloud, "begun", at="boot.claim.before").wait()
    busy = cloud.refused("boot", "begun", *IDLE, "--meta", "other=1", status=8)
    assert "begun: boot by" in busy["message"]
    run.kill()
    (guest,) = cloud.json("boot", "begun", *IDLE, "--meta", "other=1")
    assert guest["state"] == "active"


def test_a_delete_that_is_under_way_is_told_to_others(cloud: LabCloud) -> None:
    cloud.berth("boot", "leaving", *IDLE)
    run = Held(cloud, "delete", "--yes", "leaving", at="delete.remove.before").wait()
    assert "delete by" in cloud.refused("delete", "--yes", "leaving", status=8)["message"]
    assert "being deleted" in cloud.refused("boot", "leaving", *IDLE, status=4)["message"]
    run.kill()
    assert "being deleted" in cloud.refused("boot", "leaving", *IDLE, status=4)["message"]
    cloud.berth("delete", "--yes", "leaving")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_says_so_and_is_finished_by_the_next(cloud: LabCloud, signum: signal.Signals) -> None:
    run = boot(cloud, "cut", at="boot.guest.before").wait()
    run.send(signum)
    answer = run.answer(30)
    assert answer.status == 128 + signum
    assert answer.error["message"] == f"interrupted by {signum.name}" and answer.error["hint"]
    assert "Traceback" not in answer.out + answer.err
    assert cloud.local() == []
    (guest,) = cloud.json("boot", "cut", *IDLE)
    assert guest["state"] == "active"


def test_a_killed_run_leaves_no_folder_for_long(cloud: LabCloud) -> None:
    boot(cloud, "left", at="boot.claim.after").wait().kill()
    assert [path for path in cloud.local() if "berth-run-" in path]
    cloud.berth("boot", "left", *IDLE)
    assert cloud.local() == []


def test_a_run_whose_command_was_killed_alone(cloud: LabCloud) -> None:
    """Ansible loses its terminal, ends or works on: either way the same boot ends well."""
    boot(cloud, "alone", at="boot.image.before").wait().kill_only_the_command()
    deadline = time.monotonic() + GONE_S
    answer = cloud.berth("boot", "alone", *IDLE, "--format", "json", status=None)
    while answer.status == 8 and time.monotonic() < deadline:
        answer = cloud.berth("boot", "alone", *IDLE, "--format", "json", status=None)
    assert answer.status == 0, answer
    assert [guest["state"] for guest in answer.data] == ["active"]


def test_a_ledger_that_somebody_holds(cloud: LabCloud) -> None:
    with closing(sqlite3.connect(cloud.folder / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        waiting = boot(cloud, "waits")
        assert cloud.guests() == {}
        answer = waiting.answer()
        database.execute("ROLLBACK")
    assert answer.status == 8, answer
    assert "locked by another process" in answer.error["message"] and "Traceback" not in answer.err
    (guest,) = cloud.json("boot", "waits", *IDLE)
    assert guest["state"] == "active"
