# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest is in one place (promise P1): what other machines, other hosts, older looks and ended runs mean for it."""

from __future__ import annotations

import os
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import BerthError, Conflict, HostFailed
from berth.ledger import Ledger
from berth.ledger.rows import ImageRow
from berth.verbs import boot, delete, power, start_guests
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.journal import write_intent

_MEND = runpy.run_path(str(Path(__file__).with_name("test_mend.py")))
cloud, web, call, domain, facts, others, refresh = (
    _MEND[name] for name in ("cloud", "web", "call", "domain", "facts", "others", "refresh")
)
ONE = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"]}
NO_PROCESS = 2**22 + 1
IMAGE = {"name": "tiny", "ok": True, "digest": "sha256:" + "0" * 64, "format": "qcow2"}
IMAGE |= {"virtual_size_bytes": 1 << 30, "size_bytes": 1 << 20}
FIRST, SECOND = (f"sha256:{number * 64}" for number in "12")


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the test is known to be dead when the next one begins."""
    monkeypatch.setattr(os, "getppid", lambda: NO_PROCESS)


def sent(cloud: Cloud) -> tuple[str, dict[str, Any]]:
    """Begins a boot that hands its guest to its host, and stops there; returns that host and its work."""
    ((host, share),) = boot.begin(call(cloud, request=ONE))["work"].items()
    for step in ("image", "guest"):
        write_intent(share["journal"], step, host)
    return host, share


def swap_machine(cloud: Cloud, host: str) -> None:
    """Another machine answers under this host's name."""
    known = {name: facts(name) for name in ("h1", "h2", "h3")}
    known[host]["machine_id"] = "f" * 32
    refresh(cloud, known)
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.host(host).quarantine


def test_an_unfinished_guest_is_not_made_on_another_machine(cloud: Cloud, killed: None) -> None:
    host, _ = sent(cloud)
    swap_machine(cloud, host)
    begun = boot.begin(call(cloud, request=ONE))
    assert begun["work"] == {}
    with pytest.raises(HostFailed) as caught:
        boot.finish(call(cloud, action_id=begun["action"], request={"uuids": begun["uuids"]}))
    assert f"{host} is in quarantine" in "\n".join(caught.value.details)
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").host == host


def test_a_guest_is_not_forgotten_nor_changed_by_the_word_of_another_machine(cloud: Cloud, web: dict[str, Any]) -> None:
    swap_machine(cloud, web["host"])
    for action in ("start", "stop"):
        with pytest.raises(Conflict, match=f"guest web is on host {web['host']}, machine id changed"):
            power.begin(call(cloud, request={"names": ["web"], "action": action}))
    with pytest.raises(Conflict, match="in quarantine"):
        start_guests.begin(call(cloud, request={"host": web["host"]}))
    begun = delete.begin(call(cloud, request={"names": ["web"]}))
    assert begun["work"] == {}
    with pytest.raises(HostFailed) as caught:
        delete.finish(call(cloud, action_id=begun["action"], request={"uuids": begun["uuids"]}))
    assert "in quarantine" in caught.value.details[0]
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").task_state is None


def image(digest: str, at: float) -> ImageRow:
    return ImageRow("tiny", digest, "qcow2", 1 << 30, 1 << 20, "https://x.example/tiny.qcow2", at)


def test_a_guest_keeps_the_image_that_it_may_have_been_made_of(cloud: Cloud, killed: None) -> None:
    (cloud.path / "catalog/images.yml").write_text(
        "images: [{name: tiny, source: 'https://x.example/t', sums: 'https://x.example/SUMS', format: qcow2}]"
    )
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.record_images([image(FIRST, 1.0)])
    untouched = boot.begin(call(cloud, request={**ONE, "name": "new"}))  # killed before its host was told
    host, share = sent(cloud)
    assert [item["digest"] for item in share["images"]] == [FIRST]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.record_images([image(SECOND, 2.0)])  # the publisher has a new one, and somebody pulled it
    again = boot.begin(call(cloud, request=ONE))["work"][host]
    assert [item["digest"] for item in again["images"]] == [FIRST]
    ((where, new),) = boot.begin(call(cloud, request={**ONE, "name": "new"}))["work"].items()
    assert [item["digest"] for item in new["images"]] == [SECOND] and where in untouched["work"]


@pytest.fixture
def moved(cloud: Cloud, web: dict[str, Any]) -> str:
    """The guest runs on another host, where somebody moved it by hand; its definition stayed. Returns that host."""
    here, there = others(web)
    look(cloud, web, {web["host"]: "shutdown", here: "running", there: None}, at=-10.0)
    return str(here)


def look(cloud: Cloud, web: dict[str, Any], states: Mapping[str, str | None], *, at: float) -> None:
    """Stores what a refresh saw `at` seconds from now: host -> state of the guest there (None: no domain)."""
    known = {name: facts(name, *([domain(web, state)] if state else [])) for name, state in states.items()}
    for one in known.values():
        one["collected_at"] += at
    refresh(cloud, known, now_s=max(one["collected_at"] for one in known.values()) + 100.0)


def start(cloud: Cloud) -> None:
    power.begin(call(cloud, request={"names": ["web"], "action": "start"}))


def test_an_older_look_that_ends_later_does_not_hide_where_a_guest_runs(
    cloud: Cloud, web: dict[str, Any], moved: str
) -> None:
    look(cloud, web, {web["host"]: "running", **dict.fromkeys(others(web))}, at=-70.0)
    with pytest.raises(Conflict, match=f"guest web is running on host {moved}"):
        start(cloud)
    look(cloud, web, {web["host"]: "shutdown", **dict.fromkeys(others(web))}, at=-5.0)
    start(cloud)


def test_a_guest_that_runs_elsewhere_is_not_deleted_here(cloud: Cloud, web: dict[str, Any], moved: str) -> None:
    with pytest.raises(Conflict, match=f"guest web is running on host {moved} and recorded on {web['host']}"):
        delete.begin(call(cloud, request={"names": ["web"]}))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", "web").task_state is None
        ledger.set_host_enabled(moved, enabled=False, reason="burnt")
    # The host that showed it never returns: then its own is asked as ever.
    begun = delete.begin(call(cloud, request={"names": ["web"], "host_is_gone": moved}))
    assert list(begun["work"]) == [web["host"]]
    with pytest.raises(HostFailed):  # it does not answer
        delete.finish(call(cloud, action_id=begun["action"], request={"uuids": begun["uuids"]}))
    begun = delete.begin(call(cloud, request={"names": ["web"], "host_is_gone": moved}))
    answer = {web["host"]: {GUEST_RESULT: {"guests": [{"uuid": web["uuid"], "ok": True, "state": "absent"}]}}}
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    assert delete.finish(call(cloud, results=answer, **passed))["guests"][0]["state"] == "deleted"


def compared(
    cloud: Cloud, web: dict[str, Any], shown: Mapping[str, Any], silent: Sequence[str] = (), *, accept: bool = False
) -> Any:
    begun = start_guests.begin(call(cloud, request={"host": web["host"]}))
    looks = {
        host: {start_guests.FACTS_RESULT: {"unreachable": True} if host in silent else {"host": shown[host]}}
        for host in begun["look"]
    }
    request = {"host": web["host"], "uuids": begun["uuids"], "locked": begun["locked"], "accept_silent_hosts": accept}
    return start_guests.compare(call(cloud, action_id=begun["action"], request=request, results=looks))


@pytest.mark.parametrize("how", ["silent", "out of the inventory"])
def test_a_copy_that_a_host_showed_last_is_not_started_again(cloud: Cloud, web: dict[str, Any], how: str) -> None:
    here, there = others(web)
    refresh(cloud, {web["host"]: "no route", here: facts(here, domain(web, "running")), there: facts(there)})
    shown = {web["host"]: facts(web["host"], domain(web, "shutdown")), there: facts(there)}
    if how != "silent":
        refresh(cloud, {web["host"]: "no route", there: facts(there)})
    silent = (here,) if how == "silent" else ()
    with pytest.raises(HostFailed) as caught:
        compared(cloud, web, shown, silent, accept=how == "silent")
    assert f"guest web is running on host {here}" in "\n".join(caught.value.details)


def off(web: dict[str, Any]) -> dict[str, Any]:
    return {
        name: facts(name, *([domain(web, "shutdown")] if name == web["host"] else [])) for name in ("h1", "h2", "h3")
    }


@pytest.mark.parametrize("verb", ["delete", "stop"])
def test_what_died_on_its_way_is_not_undone_by_starting_a_hosts_guests(
    cloud: Cloud, web: dict[str, Any], killed: None, verb: str
) -> None:
    if verb == "delete":
        delete.begin(call(cloud, request={"names": ["web"]}))
    else:
        power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))
    assert start_guests.begin(call(cloud, request={"host": web["host"]}))["uuids"] == []


@pytest.mark.parametrize("verb", ["start-guests", "delete", "boot"])
def test_a_run_that_somebody_ended_records_nothing_more(cloud: Cloud, web: dict[str, Any], verb: str) -> None:
    finish = {"start-guests": start_guests.finish, "delete": delete.finish, "boot": boot.record}[verb]
    if verb == "start-guests":
        begun = compared(cloud, web, off(web))
    elif verb == "delete":
        begun = delete.begin(call(cloud, request={"names": ["web"]}))
    else:
        begun = boot.begin(call(cloud, request={**ONE, "name": "db"}))
    name = "db" if verb == "boot" else "web"
    with Ledger.open(cloud.ledger_url) as ledger:
        uuid, host = ledger.guest("default", name).uuid, ledger.guest("default", name).host
        ledger.end_action(begun["action"], "ada says that its run is gone")
    delete.begin(call(cloud, request={"names": [name]}))
    made = {"uuid": uuid, "ok": True, "changed": True, "state": "absent" if verb == "delete" else "running"}
    made |= {"steps": ["check"]}
    said = {host: {GUEST_RESULT: {"guests": [made]}, IMAGE_RESULT: {"images": [IMAGE]}}}
    with pytest.raises(BerthError, match="is over: ada says"):
        finish(call(cloud, action_id=begun["action"], results=said, request={"uuids": [uuid], "locked": []}))
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.guest("default", name).task_state == "deleting"
