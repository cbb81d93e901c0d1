# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between ledger and hosts: a world where all is well, and what is planted in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from berth.ledger.model import PowerState, TaskState, VmState
from berth.ledger.rows import GuestRow, HostRow, HostUpdate
from berth.ledger.store_hosts import learnt
from berth.verbs.reality import Difference, Kind, Mend, Seen, differences, guest_differences

NOW = 1000.0
MAC = "52:54:00:00:00:01"
IMAGE = f"sha256-{'0' * 64}.qcow2"


def guest(uuid: str = "u1", host: str | None = "h1", **changes: Any) -> GuestRow:
    values: dict[str, Any] = dict.fromkeys(GuestRow.__dataclass_fields__)
    network = {"network": "lan", "source": "lan", "mac": MAC, "address": "10.0.0.5"}
    values |= {"uuid": uuid, "name": f"web-{uuid}", "project": "default", "vm_state": VmState.ACTIVE, "host": host}
    values |= {"power_state": PowerState.RUNNING, "updated_at": 10.0, "plan": {"networks": [network]}}
    return GuestRow(**{**values, **changes})


def domain(uuid: str = "u1", state: str = "running", **more: Any) -> dict[str, Any]:
    record = {"cloud": "mine", "image_digest": "sha256:" + "0" * 64, "image_format": "qcow2"}
    disks = [{"path": f"/i/{uuid}/disk.qcow2"}]
    return {"uuid": uuid, "name": uuid, "state": state, "macs": [], "disks": disks, "record": record, **more}


def host(name: str, *domains: dict[str, Any], silent: str | None = None, **facts: Any) -> HostRow:
    known = {"machine_id": name, "collected_at": NOW, "clock_offset_s": 0.0, "domains": list(domains), **facts}
    row = learnt(None, HostUpdate(name, known), NOW)
    return replace(row, unreachable_message=silent)


def folder(uuid: str, *own: str, other: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"uuid": uuid, "own": list(own), "other": list(other)}


def files(*instances: Any, consoles: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"instances": list(instances), "consoles": list(consoles), "images": list(images)}


def look(*hosts: HostRow, guests: tuple[GuestRow, ...] = (guest(),)) -> list[Difference]:
    return differences(Seen("mine", hosts, guests, frozenset({"wanted.qcow2"})))


def test_where_all_is_well_nothing_is_told() -> None:
    stranger = domain("s", record=None)
    left = files(folder("u1", "disk.qcow2", "seed.iso"), consoles=("u1",), images=(IMAGE, "wanted.qcow2"))
    assert look(host("h1", domain(), stranger, files=left), host("h2")) == []


GONE = guest("u9", None, vm_state=VmState.DELETED, deleted_at=20.0)


@pytest.mark.parametrize(
    ("hosts", "guests", "expected"),
    [
        pytest.param(
            [host("h1"), host("h2", domain())],
            [guest()],
            [(Kind.MOVED, "h2", Mend.ASK, False)],
            id="it runs elsewhere",
        ),
        pytest.param(
            [host("h1", silent="off"), host("h2", domain())],
            [guest()],
            [(Kind.MOVED, "h2", Mend.NONE, False)],
            id="elsewhere, and its own host is silent",
        ),
        pytest.param(
            [host("h1", domain()), host("h2", domain(state="shutdown"))],
            [guest()],
            [(Kind.TWIN, "h2", Mend.ASK, False)],
            id="a copy that is off",
        ),
        pytest.param(
            [host("h1", domain()), host("h2", domain(state="shutdown", record={"cloud": "mine", "firmware": "efi"}))],
            [guest()],
            [(Kind.TWIN, "h2", Mend.NONE, True)],
            id="a copy that is off, with variables of its firmware",
        ),
        pytest.param(
            [
                host("h1", domain()),
                host(
                    "h2", domain(state="shutdown", record={"cloud": "mine", "properties": {"hw_tpm_model": "tpm-crb"}})
                ),
            ],
            [guest()],
            [(Kind.TWIN, "h2", Mend.NONE, True)],
            id="a copy that is off, with a TPM",
        ),
        pytest.param(
            [host("h1", domain()), host("h2", domain())],
            [guest()],
            [(Kind.TWIN, "h2", Mend.NONE, True)],
            id="it runs twice",
        ),
        pytest.param(
            [host("h1"), host("h2", domain(state="shutdown")), host("h3", domain(state="shutdown"))],
            [guest()],
            [(Kind.TWIN, "h2", Mend.NONE, True), (Kind.TWIN, "h3", Mend.NONE, True)],
            id="two copies, neither where it is recorded",
        ),
        pytest.param([host("h1")], [guest()], [(Kind.NO_DOMAIN, "h1", Mend.NONE, False)], id="it is nowhere"),
        pytest.param([host("h1", silent="off")], [guest()], [], id="its host is silent"),
        pytest.param([host("h1")], [guest(vm_state=VmState.ERROR, host=None)], [], id="it never was made"),
        pytest.param([host("h1")], [guest(vm_state=VmState.BUILDING)], [], id="it is being made"),
        pytest.param([host("h1")], [guest(task_state=TaskState.DELETING)], [], id="it is being deleted"),
        pytest.param([host("h1")], [guest(updated_at=NOW)], [], id="the facts are older than the guest"),
        pytest.param(
            [host("h1", domain("u9", "shutdown"))],
            [GONE],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.ASK, False)],
            id="a domain of a deleted guest",
        ),
        pytest.param([host("h1", domain("u9"))], [replace(GONE, deleted_at=NOW)], [], id="deleted just now"),
        pytest.param(
            [host("h1", domain("u9", "shutdown")), host("h2", domain("u9"))],
            [GONE],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.NONE, False), (Kind.ORPHAN_DOMAIN, "h2", Mend.NONE, False)],
            id="off here and on there: they may share the disk",
        ),
        pytest.param(
            [host("h1", domain("u7", "shutdown")), host("h2", domain("u7", "shutdown"))],
            [],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.NONE, False), (Kind.ORPHAN_DOMAIN, "h2", Mend.NONE, False)],
            id="a domain nobody knows, off on two hosts",
        ),
        pytest.param(
            [host("h1", domain("u7", "shutdown")), host("h2", domain("u7"), silent="off")],
            [],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.NONE, False)],
            id="a domain nobody knows, and one on a host that is silent",
        ),
        pytest.param(
            [
                host("h1", domain("u7", "shutdown")),
                host("h2", domain("s", record=None, disks=[{"path": "/i/u7/disk.qcow2"}])),
            ],
            [],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.NONE, False)],
            id="a domain nobody knows, and another one on its disk",
        ),
        pytest.param(
            [host("h1", domain("u7"))],
            [],
            [(Kind.ORPHAN_DOMAIN, "h1", Mend.NONE, False)],
            id="a domain nobody knows, on",
        ),
        pytest.param([host("h1", domain("u7", record={"cloud": "other"}))], [], [], id="a guest of another cloud"),
        pytest.param(
            [host("h1", files=files(folder("u9", "disk.qcow2", "seed.iso"), consoles=("u9",)))],
            [GONE],
            [
                (Kind.ORPHAN_DISK, "h1", Mend.SAFE, False),
                (Kind.ORPHAN_SEED, "h1", Mend.SAFE, False),
                (Kind.ORPHAN_CONSOLE, "h1", Mend.SAFE, False),
            ],
            id="files of a deleted guest",
        ),
        pytest.param(
            [host("h1", files=files(folder("u7", "disk.qcow2")))],
            [],
            [(Kind.ORPHAN_DISK, "h1", Mend.ASK, False)],
            id="a disk nobody knows is never removed unasked",
        ),
        pytest.param(
            [
                host(
                    "h1",
                    domain("s", record=None, disks=[{"path": "/i/u9/disk.qcow2"}]),
                    files=files(folder("u9", "disk.qcow2")),
                )
            ],
            [GONE],
            [(Kind.ORPHAN_DISK, "h1", Mend.NONE, False)],
            id="a disk that another domain lives on",
        ),
        pytest.param(
            [host("h1", files=files(folder("u9", "disk.qcow2"))), host("h2", domain("u9"), silent="off")],
            [GONE],
            [(Kind.ORPHAN_DISK, "h1", Mend.NONE, False)],
            id="a disk that a host may use that is silent",
        ),
        pytest.param(
            [host("h1", domain()), host("h2", files=files(folder("u1", other=("notes",))))],
            [guest()],
            [(Kind.ORPHAN_FOLDER, "h2", Mend.NONE, False)],
            id="a folder of a guest that is elsewhere: they may share it",
        ),
        pytest.param(
            [host("h1", files=files(folder("u1", "disk.qcow2")))],
            [guest()],
            [(Kind.NO_DOMAIN, "h1", Mend.NONE, False)],
            id="the disk of a guest without a domain is not an orphan",
        ),
        pytest.param(
            [host("h1", files=files(images=(IMAGE,)))],
            [],
            [(Kind.UNUSED_IMAGE, "h1", Mend.ASK, False)],
            id="an image nobody uses",
        ),
        pytest.param(
            [host("h1", domain(), domain("s", record=None, macs=[MAC.upper()]))],
            [guest()],
            [(Kind.ADDRESS_CONFLICT, "h1", Mend.NONE, True)],
            id="a MAC of ours on a stranger",
        ),
        pytest.param(
            [
                host(
                    "h1",
                    domain(macs=[MAC]),
                    networks=[{"name": "lan", "leases": [{"mac": "52:54:00:00:00:99", "address": "10.0.0.5"}]}],
                )
            ],
            [guest()],
            [(Kind.ADDRESS_CONFLICT, "h1", Mend.NONE, True)],
            id="an address of ours leased to a stranger",
        ),
    ],
)
def test_what_is_planted_is_found(hosts: list[HostRow], guests: list[GuestRow], expected: list[Any]) -> None:
    found = look(*hosts, guests=tuple(guests))
    assert sorted((one.kind, one.host, one.mend, one.serious) for one in found) == sorted(expected)
    assert all(one.found and one.fix for one in found)
    assert len({one.key for one in found}) == len(found)


def test_of_a_host_in_quarantine_nothing_is_believed() -> None:
    odd = replace(host("h2", domain()), quarantine="machine id changed")
    assert look(host("h1", domain()), odd) == []


def test_the_guests_alone_need_no_history() -> None:
    seen = Seen("mine", [host("h1", domain("u7")), host("h2", domain())], [guest()])
    assert [one.kind for one in guest_differences(seen)] == [Kind.MOVED]
