# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is booked, moved and released in whatever order: within the limits, nothing twice, everything comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from berth.errors import Conflict
from berth.ledger import Ledger
from berth.ledger.claiming import ClaimRefused
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import (
    ActionRequest,
    AddressWish,
    BootRecord,
    Claim,
    HostUpdate,
    NewGuest,
    Resources,
    Usage,
)
from berth.ledger.store_hosts import Refresh

HOSTS = ("h1", "h2")
LIMITS = Resources(4, 100, 100)
RANGE = tuple(f"10.0.0.{number}" for number in range(1, 7))
SIZES = st.builds(Resources, st.integers(1, 2), st.integers(1, 40), st.integers(0, 40))
PLACES = st.lists(st.tuples(st.sampled_from(HOSTS), SIZES), min_size=1, max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    """Compares a ledger with a dict: guest uuid -> (host, resources)."""

    guests = Bundle("guests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.ledger = Ledger.open(f"sqlite:///{self.folder.name}/ledger.sqlite")
        updates = [HostUpdate(name, {"machine_id": name}) for name in HOSTS]
        self.ledger.store_hosts(Refresh(updates, {}, "d", 1.0))
        self.model: dict[str, tuple[str, Resources]] = {}
        self.counter = 0

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(target=guests, places=PLACES, policy=st.sampled_from([None, "10.0.0.3"]))
    def boot(self, places: list[tuple[str, Resources]], policy: str | None) -> object:
        new = []
        for _host, size in places:
            self.counter += 1
            new.append(NewGuest(f"u{self.counter}", "default", f"g{self.counter}", "f", "i", size))
        record = BootRecord(
            tuple(new),
            tuple(Claim(guest.uuid, host, size, LIMITS, 1) for guest, (host, size) in zip(new, places, strict=True)),
            tuple(AddressWish(guest.uuid, 0, "lan", RANGE[0], RANGE[-1], address=policy) for guest in new[:1])
            + tuple(AddressWish(guest.uuid, 0, "lan", RANGE[0], RANGE[-1]) for guest in new[1:]),
        )
        names = tuple(guest.name for guest in new)
        action = self.ledger.begin_action(ActionRequest(Verb.BOOT, "default", names, "r"), Owner.of_process())
        fits = self._fits(self.model, {guest.uuid: place for guest, place in zip(new, places, strict=True)})
        try:
            booked = self.ledger.record_boot(action.id, record)
        except ClaimRefused:
            assert not fits
            return multiple()
        except Conflict as error:
            assert "address" in str(error.data["taken"])
            return multiple()
        finally:
            self.ledger.end_action(action.id)
        assert fits
        assert len(booked.addresses) == len(new)
        self.model |= {guest.uuid: place for guest, place in zip(new, places, strict=True)}
        return multiple(*(guest.uuid for guest in new))

    @rule(uuid=guests, host=st.sampled_from(HOSTS))
    def move(self, uuid: str, host: str) -> None:
        size = self.ledger.guest_by_uuid(uuid)
        resources = Resources(size.vcpus, size.memory_mib, size.disk_mib)
        others = {other: place for other, place in self.model.items() if other != uuid}
        action = self.ledger.begin_action(ActionRequest(Verb.BOOT, "default", (size.name,), "r"), Owner.of_process())
        try:
            self.ledger.move_claim(action.id, Claim(uuid, host, resources, LIMITS, 1))
        except ClaimRefused:
            assert not self._fits(others, {uuid: (host, resources)})
        else:
            self.model = others | {uuid: (host, resources)}
        finally:
            self.ledger.end_action(action.id)

    @rule(uuid=guests)
    def release(self, uuid: str) -> None:
        self.ledger.release_claims([uuid])
        self.model.pop(uuid, None)

    @rule(uuid=consumes(guests))
    def delete(self, uuid: str) -> None:
        self.ledger.delete_guests([uuid])
        self.model.pop(uuid, None)

    @staticmethod
    def _fits(held: dict[str, tuple[str, Resources]], wanted: dict[str, tuple[str, Resources]]) -> bool:
        for host in {place[0] for place in wanted.values()}:
            sizes = [size for place, size in (held | wanted).values() if place == host]
            for name in ("vcpus", "memory_mib", "disk_mib"):
                if sum(getattr(size, name) for size in sizes) > getattr(LIMITS, name):
                    return False
        return True

    @invariant()
    def usage_is_what_is_held(self) -> None:
        expected: dict[str, Usage] = {}
        for host, size in self.model.values():
            now = expected.get(host, Usage())
            expected[host] = Usage(
                now.vcpus + size.vcpus, now.memory_mib + size.memory_mib, now.disk_mib + size.disk_mib, now.guests + 1
            )
        found = self.ledger.usage()
        assert found == expected
        for usage in found.values():
            assert usage.vcpus <= LIMITS.vcpus
            assert usage.memory_mib <= LIMITS.memory_mib
            assert usage.disk_mib <= LIMITS.disk_mib

    @invariant()
    def nothing_is_given_twice(self) -> None:
        rows = self.ledger.addresses_of()
        assert {row.address for row in rows} <= set(RANGE)
        assert len({row.address for row in rows}) == len({row.mac for row in rows}) == len(rows)
        assert {row.guest_uuid for row in rows} == {row.uuid for row in self.ledger.guests()}
        ports = self.ledger.ports_of(list(self.model))
        assert set(ports) == set(self.model)
        held = [(self.model[uuid][0], port) for uuid, numbers in ports.items() for port in numbers]
        assert len(set(held)) == len(held)


LedgerMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase
