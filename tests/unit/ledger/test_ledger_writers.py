# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes on one ledger at the same time, some of them killed: no claim too many, no address twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from berth.ledger import Ledger
from berth.ledger.owner import Owner, proof_of_death
from berth.ledger.rows import AddressWish, BootRecord, Resources

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
        except (Busy, Conflict):
            pass
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
    for victim in victims:
        time.sleep(0.8 + rng.random())
        victim.kill()
        victim.communicate(timeout=10)
    booted = 0
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        booted += int(out)
    assert booted > 0
    _check(ledger)
    # What the killed ones left is taken over.
    for action in ledger.open_actions():
        assert proof_of_death(Owner(**action.owner)) is not None
    for number in range(20):
        ledger.end_action(kit.begin(ledger, f"g{number}", digest="").id)
    assert ledger.open_actions() == []


def _check(ledger: Ledger) -> None:
    guests = {row.uuid: row for row in ledger.guests()}
    claims = ledger.claims_of(list(guests))
    assert len({row.name for row in guests.values()}) == len(guests)
    assert Counter(row.guest_uuid for row in claims) == Counter(guests.keys())
    assert {host: usage.guests for host, usage in ledger.usage().items()} == Counter(row.host for row in claims)
    assert max(Counter(row.host for row in claims).values(), default=0) <= LIMITS.vcpus
    addresses = ledger.addresses_of()
    assert {row.guest_uuid for row in addresses} == set(guests)
    assert len({row.address for row in addresses}) == len({row.mac for row in addresses}) == len(addresses)


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
