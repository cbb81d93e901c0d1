# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes on one ledger at the same time, some of them killed: no claim too many, no address twice."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

from berth.errors import BerthError
from berth.ledger import Ledger
from berth.ledger.book_claims import book_claims, check_claims
from berth.ledger.claiming import ClaimRefused
from berth.ledger.owner import Owner, proof_of_death
from berth.ledger.rows import AddressWish, BootRecord, NewGuest, Resources
from berth.ledger.tables import guests

LIMITS = Resources(6, 6, 6)
WRITERS = 4
SECONDS = 3.0

# Boots and deletes guests with few names on few hosts until the time is over, and looks at the totals each time.
WRITER = """
import random, sys, time, uuid
from berth.errors import Busy, Conflict
from berth.ledger import Ledger
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, AddressWish, BootRecord, Claim, NewGuest, Resources
url, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
limits, one = Resources(6, 6, 6), Resources(1, 1, 1)
rng, end, done = random.Random(seed), time.monotonic() + seconds, 0
with Ledger.open(url) as ledger:
    while time.monotonic() < end:
        names = tuple(rng.sample([f"g{number}" for number in range(20)], 3))
        try:
            if rng.random() < 0.6:
                action = ledger.begin_action(ActionRequest(Verb.BOOT, "default", names, "r"), Owner.of_process())
                new = [NewGuest(str(uuid.uuid4()), "default", name, "f", "i", one) for name in names]
                claims = [Claim(guest.uuid, rng.choice(["h1", "h2"]), one, limits, 1) for guest in new]
                wishes = [AddressWish(guest.uuid, 0, "lan", "10.0.0.1", "10.0.0.15") for guest in new]
                try:
                    ledger.record_boot(action.id, BootRecord(tuple(new), tuple(claims), tuple(wishes)))
                    done += 1
                finally:
                    ledger.end_action(action.id)
            else:
                action = ledger.begin_action(ActionRequest(Verb.DELETE, "default", names, "r"), Owner.of_process())
                ledger.delete_guests([row.uuid for row in ledger.guests(names=names)])
                ledger.end_action(action.id)
        except (Busy, Conflict) as error:
            assert "locked by another process" not in str(error), error  # nobody holds it for long
        for usage in ledger.usage().values():
            assert max(usage.vcpus, usage.memory_mib, usage.disk_mib, usage.guests) <= 6, usage
print(done)
"""


def test_writers_and_kills_break_nothing(url: str, ledger: Ledger, kit: Any) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")

    def start(number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, url, str(seed + number), str(SECONDS)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    running = [start(number) for number in range(WRITERS)]
    victims = [start(number) for number in range(100, 102)]
    rng = random.Random(seed)
    booted = 0
    try:
        for victim in victims:
            time.sleep(0.8 + rng.random())
            victim.kill()
        for process in running:
            out, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            booted += int(out)
    finally:
        for process in running + victims:
            process.kill()
            process.communicate(timeout=10)
    assert booted > 0
    _check(ledger)
    # What the killed ones left is taken over.
    for action in ledger.open_actions():
        assert proof_of_death(Owner(**action.owner)) is not None
    for number in range(20):
        ledger.end_action(kit.begin(ledger, f"g{number}", digest="").id)
    assert ledger.open_actions() == []


def _check(ledger: Ledger) -> None:
    rows = {row.uuid: row for row in ledger.guests()}
    claims = ledger.claims_of(list(rows))
    assert len({row.name for row in rows.values()}) == len(rows)
    assert Counter(row.guest_uuid for row in claims) == Counter(rows.keys())
    assert {host: usage.guests for host, usage in ledger.usage().items()} == Counter(row.host for row in claims)
    assert max(Counter(row.host for row in claims).values(), default=0) <= LIMITS.vcpus
    addresses = ledger.addresses_of()
    assert {row.guest_uuid for row in addresses} == set(rows)
    assert len({row.address for row in addresses}) == len({row.mac for row in addresses}) == len(addresses)


def test_a_claim_waits_for_the_one_before_it_and_sees_it(url: str, ledger: Ledger, kit: Any) -> None:
    """Both fit alone. The second has begun when the first has checked and booked but not committed."""
    first, second = kit.guest("a"), kit.guest("b")
    actions = [kit.begin(ledger, guest.name) for guest in (first, second)]
    outcome: list[object] = []

    def book_second() -> None:
        with Ledger.open(url) as other:
            try:
                outcome.append(other.record_boot(actions[1].id, record_for(second)))
            except BerthError as error:
                outcome.append(error)

    def record_for(guest: NewGuest) -> BootRecord:
        return BootRecord((guest,), (kit.claim(guest, limits=guest.resources),))

    thread = threading.Thread(target=book_second)
    with ledger._database.write() as connection:
        check_claims(connection, record_for(first).claims, {})
        columns = {"uuid": "a", "project": "default", "name": "a", "name_key": "a", "flavor": "f", "image": "i"}
        columns |= {"vm_state": "building", "power_state": "nostate", "vcpus": 1, "memory_mib": 512, "disk_mib": 1024}
        columns |= {
            "request_id": "r",
            "action_id": "x",
            "created_at": 1.0,
            "updated_at": 1.0,
            "metadata": {},
            "plan": {},
        }
        connection.execute(guests.insert(), columns)
        book_claims(connection, record_for(first).claims, 1.0)
        thread.start()
        thread.join(1.0)
        assert thread.is_alive()
        assert outcome == []
    thread.join(30)
    (refused,) = outcome
    assert isinstance(refused, ClaimRefused)
    assert ledger.usage()["h1"].guests == 1


PLANTED = {
    "a second claim": "INSERT INTO claims SELECT guest_uuid, 'h2', vcpus, memory_mib, disk_mib, created_at FROM claims",
    "a lost claim": "DELETE FROM claims",
    "a lost address": "DELETE FROM addresses",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_check_catches_what_it_must(ledger: Ledger, kit: Any, planted: str) -> None:
    action, new = kit.begin(ledger, "a"), kit.guest("a")
    wish = AddressWish("a", 0, "lan", "10.0.0.1", "10.0.0.9")
    ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new),), (wish,)))
    _check(ledger)
    with ledger._database.write() as connection:
        connection.exec_driver_sql(PLANTED[planted])
    with pytest.raises(AssertionError):
        _check(ledger)
