# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts that are older than what the ledger knows, or than each other: nothing is removed or believed for them."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.ledger.model import VmState
from berth.verbs import delete, host_refresh, observe, power
from berth.verbs.boot_verdict import GUEST_RESULT
from berth.verbs.call import Call

_MEND = runpy.run_path(str(Path(__file__).with_name("test_mend.py")))
cloud, web, examined, mend = _MEND["cloud"], _MEND["web"], _MEND["examined"], _MEND["mend"]
call, domain, facts, others, refresh = (_MEND[name] for name in ("call", "domain", "facts", "others", "refresh"))
UNKNOWN, NO_PROCESS, LATER_S = _MEND["UNKNOWN"], _MEND["NO_PROCESS"], _MEND["_SYNC"]["LATER_S"]
HOSTS = ("h1", "h2", "h3")
DAY_S = 86400.0


def left(uuid: str, *own: str, other: tuple[str, ...] = (), consoles: tuple[str, ...] = ()) -> dict[str, Any]:
    folder = {"uuid": uuid, "own": list(own), "other": list(other)}
    return {"instances": [folder], "consoles": list(consoles), "images": []}


def delete_web(cloud: Cloud, web: dict[str, Any]) -> None:
    begun = delete.begin(call(cloud, request={"names": ["web"]}))
    gone = {web["host"]: {GUEST_RESULT: {"guests": [{"uuid": web["uuid"], "ok": True, "state": "absent"}]}}}
    delete.finish(call(cloud, action_id=begun["action"], request={"uuids": begun["uuids"]}, results=gone))


def test_yes_to_the_console_is_no_yes_to_the_disk(cloud: Cloud) -> None:
    files = left(UNKNOWN, "disk.qcow2", "seed.iso", consoles=(UNKNOWN,))
    refresh(cloud, {name: facts(name, files=files) if name == "h1" else facts(name) for name in HOSTS})
    console = f"orphan_console:h1:{UNKNOWN}"
    work, done = mend(cloud, [console])
    assert work == {} and done[console] == (False, "other files of it are to stay")
    assert mend(cloud, [f"orphan_{kind}:h1:{UNKNOWN}" for kind in ("disk", "seed", "console")])[0]["h1"]


@pytest.mark.parametrize("later_s", [0, 5])
def test_drift_is_told_whichever_host_was_looked_at_first(cloud: Cloud, web: dict[str, Any], later_s: int) -> None:
    here, there = others(web)
    home = facts(web["host"])
    home["collected_at"] += later_s
    looks = {web["host"]: home, here: facts(here, domain(web, "running")), there: facts(there)}
    assert "drift" in {row["kind"] for row in refresh(cloud, looks)["guests"]}
    assert f"moved:{here}:{web['uuid']}" in examined(cloud)


def test_a_power_change_that_died_is_not_settled_by_facts_from_before(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = facts(web["host"], domain(web, "running"))
    old["collected_at"] -= 2 * LATER_S
    refresh(cloud, {web["host"]: old, **{name: facts(name) for name in others(web)}})
    with monkeypatch.context() as patched:
        patched.setattr(os, "getppid", lambda: NO_PROCESS)
        power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))
    key = f"stuck_power:{web['uuid']}"
    assert mend(cloud, [key])[1][key][0] is False


def test_a_refresh_that_dies_does_not_make_the_next_take_a_boot_for_a_stop(
    cloud: Cloud, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = {name: facts(name) for name in others(web)}
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running")), **rest})
    booted = {web["host"]: {**facts(web["host"], domain(web, "shutdown")), "boot_id": "b2"}, **rest}

    def die(*_words: object, **_more: object) -> None:
        raise KeyboardInterrupt

    for owner, name in ((observe, "record_power"), (Ledger, "store_hosts")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, die)
            with pytest.raises(KeyboardInterrupt):
                refresh(cloud, booted)
        refresh(cloud, booted)
        with Ledger.open(cloud.ledger_url) as ledger:
            assert ledger.guest("default", "web").vm_state is VmState.ACTIVE


def test_a_copy_is_not_removed_while_the_recorded_hosts_look_is_old(cloud: Cloud, web: dict[str, Any]) -> None:
    here, there = others(web)
    refresh(cloud, {web["host"]: facts(web["host"], domain(web, "running")), here: facts(here), there: facts(there)})
    moved = facts(here, domain(web, "shutdown"))
    moved["collected_at"] += DAY_S
    known = {"groups": ["compute"], "variables": {}, "access": {}}
    inventory = {"problems": [], "compute": list(HOSTS), "groups": {}, "hosts": dict.fromkeys(HOSTS, known)}
    answers = {here: {host_refresh.RESULT: {"host": moved}}}
    host_refresh.finish(Call(cloud=cloud, results=answers, inventory=inventory, now_s=1.0))
    key = f"twin:{here}:{web['uuid']}"
    assert examined(cloud)[key]["mend"] == ""
    assert mend(cloud, [key])[0] == {}


def test_a_folder_with_files_of_somebody_else_is_left_to_a_person(cloud: Cloud, web: dict[str, Any]) -> None:
    delete_web(cloud, web)
    files = left(web["uuid"], other=("notes",))
    refresh(cloud, {name: facts(name, files=files) if name == "h1" else facts(name) for name in HOSTS})
    assert [found["mend"] for found in examined(cloud).values() if found["check"] == "orphan_folder"] == [""]


def test_files_whose_domain_is_on_another_host_are_left_alone(cloud: Cloud, web: dict[str, Any]) -> None:
    delete_web(cloud, web)
    files = left(web["uuid"], "disk.qcow2")
    shared = {"h1": facts("h1", files=files), "h2": facts("h2", domain(web, "running"), files=files)}
    refresh(cloud, {**shared, "h3": facts("h3")})
    assert "safe" not in {found["mend"] for found in examined(cloud).values()}
