# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller of a soak: runs verbs at random until it is killed. Each verb is what its playbook does."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hosts import Hosts, Item
from world import HOSTS, MAX_COUNT, requests, update

from berth.cloud import Cloud
from berth.errors import BerthError
from berth.ledger import Ledger
from berth.ledger.model import DeleteStep, VmState
from berth.ledger.rows import GuestRow
from berth.ledger.store_hosts import Refresh
from berth.verbs import boot, boot_rounds, delete, power
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.call import Call
from berth.verbs.journal import write_intent
from berth.verbs.observe import record_power

Results = dict[str, dict[str, Any]]
UNREACHABLE = {"unreachable": True, "msg": "no route to host"}
IMAGE = {"name": "tiny", "ok": True, "digest": "sha256:" + "0" * 64, "format": "qcow2"}
IMAGE |= {"virtual_size_bytes": 1 << 30, "size_bytes": 1 << 20}
# What a host does wrong, and how often: nothing, can make no guest, is silent, loses contact before or after its work.
FAULTS = (("", 88), ("ill", 4), ("off", 3), ("lost", 2), ("cut", 3))


class Controller:
    """The verbs of one process. `faults`: whether its hosts fail now and then."""

    def __init__(self, cloud: Cloud, *, faults: bool) -> None:
        self.cloud = cloud
        self.hosts = Hosts(cloud.path)
        self.faults = faults
        self.requests = requests()

    def boot(self, request: Mapping[str, Any]) -> None:
        """Boots, in the rounds of guest_boot.yml."""
        begun = boot.begin(self._call(request=request))
        request, undo = {"uuids": begun["uuids"]}, {}
        work = begun["work"]
        for _round in range(boot_rounds.MAX_ATTEMPTS):
            results = {host: self._make(host, share) for host, share in work.items()}
            outcome = boot.record(
                self._call(action_id=begun["action"], request={**request, "undo": undo}, results=results)
            )
            work, undo = outcome["work"], outcome["undo"]
        removed = {host: self._remove(host, share) for host, share in undo["work"].items()}
        boot.finish(self._call(action_id=begun["action"], request={**request, "undo": undo}, results=removed))

    def delete(self, names: list[str]) -> None:
        """Deletes, as guest_delete.yml does."""
        begun = delete.begin(self._call(request={"names": names}))
        results = {host: self._remove(host, share) for host, share in begun["work"].items()}
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        delete.finish(self._call(results=results, **passed))

    def power(self, names: list[str], action: str) -> None:
        """Starts or stops, as guest_power.yml does."""
        begun = power.begin(self._call(request={"names": names, "action": action}))
        state = "running" if action == "start" else "shutdown"
        results = {host: self._set_power(host, share, state) for host, share in begun["work"].items()}
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        power.finish(self._call(results=results, **passed))

    def refresh(self) -> None:
        """Reads the hosts' facts, and writes them some time later, as a refresh of many hosts does."""
        updates = [update(self.hosts, host) for host in HOSTS]
        time.sleep(random.uniform(0, 0.3) if self.faults else 0)
        with Ledger.open(self.cloud.ledger_url) as ledger:
            record_power(ledger, ledger.store_hosts(Refresh(updates, {}, "sha256:0", time.time())))

    def _call(self, **given: Any) -> Call:
        return Call(cloud=self.cloud, now_s=time.time(), **given)

    def _fault(self) -> str:
        names, weights = zip(*FAULTS, strict=True)
        return random.choices(names, weights)[0] if self.faults else ""

    def _make(self, host: str, share: Mapping[str, Any]) -> dict[str, Any]:
        fault = self._fault()
        write_intent(share["journal"], "image", host)
        if fault == "off":
            return {IMAGE_RESULT: UNREACHABLE, GUEST_RESULT: {"skipped": True}}
        write_intent(share["journal"], "guest", host)
        items = [] if fault == "lost" else self.hosts.present(host, share["plans"], ill=fault == "ill")
        return {IMAGE_RESULT: {"images": [dict(IMAGE)]}, **_answer(items, cut=fault in ("lost", "cut"))}

    def _remove(self, host: str, share: Mapping[str, Any]) -> dict[str, Any]:
        fault = self._fault()
        write_intent(share["journal"], "remove", host)
        if fault in ("off", "lost"):
            return {GUEST_RESULT: UNREACHABLE}
        return _answer(self.hosts.absent(host, share["guests"]), cut=fault == "cut")

    def _set_power(self, host: str, share: Mapping[str, Any], state: str) -> dict[str, Any]:
        fault = self._fault()
        write_intent(share["journal"], "power", host)
        if fault in ("off", "lost"):
            return {GUEST_RESULT: UNREACHABLE}
        return _answer(self.hosts.power(host, share["guests"], state), cut=fault == "cut")


def _answer(items: list[Item], *, cut: bool) -> dict[str, Any]:
    return {GUEST_RESULT: UNREACHABLE if cut else {"guests": items}}


def work(cloud: Cloud, seed: int, log: Path) -> None:
    """Runs verbs until it is killed, and writes one line for each that ended. Anything but a BerthError ends it."""
    # Here the controller is what ansible-playbook is: the process whose death frees its guests.
    os.getppid = os.getpid
    random.seed(seed)
    controller = Controller(cloud, faults=True)
    while True:
        verb = random.choices(("boot", "delete", "power", "refresh"), (50, 30, 15, 5))[0]
        try:
            _one(controller, verb)
            outcome = "done"
        except BerthError as error:
            outcome = type(error).__name__
        with log.open("a") as stream:
            stream.write(f"{verb} {outcome}\n")


def _one(controller: Controller, verb: str) -> None:
    if verb == "refresh":
        return controller.refresh()
    if verb == "boot":
        request = controller.requests[random.choice(list(controller.requests))]
        count = random.randint(2, MAX_COUNT)
        how = random.choice(({}, {}, {"min_count": random.randint(1, count)}, {"partial": True}))
        return controller.boot({**request, "count": count, **how})
    with Ledger.open(controller.cloud.ledger_url) as ledger:
        names = [row.name for row in ledger.guests()]
    chosen = random.sample(names, min(len(names), random.randint(1, 3))) or ["nobody"]
    return controller.delete(chosen) if verb == "delete" else controller.power(chosen, random.choice(("start", "stop")))


def settle(cloud: Cloud) -> None:
    """Finishes everything that killed runs left, on hosts that do not fail any more: each request booted or deleted."""
    os.getppid = os.getpid
    controller = Controller(cloud, faults=False)
    for name, request in controller.requests.items():
        try:
            controller.boot({**request, "count": MAX_COUNT, "partial": True})
        except BerthError:
            pass
        with Ledger.open(cloud.ledger_url) as ledger:
            rows = [row for row in ledger.guests() if row.name.startswith(f"{name}-")]
            unfinished = [row.name for row in rows if _is_unfinished(ledger, row)]
        if unfinished:
            controller.delete(unfinished)
    controller.refresh()
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.repair()  # the actions of killed deletions that were never repeated


def _is_unfinished(ledger: Ledger, row: GuestRow) -> bool:
    """Returns whether a verb left the guest half done, or a deletion failed: its host may have obeyed all the same."""
    at_rest = row.task_state is None and row.vm_state in (VmState.ACTIVE, VmState.STOPPED, VmState.ERROR)
    return not at_rest or any(step.step == DeleteStep.REMOVE for step in ledger.steps_on([row.uuid]))


def count(log: Path) -> Counter[str]:
    """Returns how many verbs ended, by verb and outcome."""
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()
