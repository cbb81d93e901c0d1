# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing over several runs of one request: what ran before stays, and what could not be undone is told."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import HostFailed
from berth.ledger import Ledger
from berth.ledger.rows import GuestRow
from berth.verbs import booking, boot, boot_undo
from berth.verbs.call import Call

_BATCHES = runpy.run_path(str(Path(__file__).with_name("test_boot_batches.py")))
cloud = _BATCHES["cloud"]
call, run, names, limit = (_BATCHES[name] for name in ("call", "run", "names", "limit"))
REQUEST = _BATCHES["REQUEST"]
NO_PROCESS = 2**22 + 1


def run_and_die(cloud: Cloud, request: Mapping[str, Any], refuse: Mapping[str, str]) -> None:
    """A boot that is killed after its first round."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.getppid", lambda: NO_PROCESS)
        begun = boot.begin(call(cloud, request=request))
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"], "kept": begun["kept"]}}
        boot.record(call(cloud, results=_BATCHES["_answers"](begun["work"], refuse), **passed))


def test_a_guest_that_runs_since_an_earlier_run_stays(cloud: Cloud) -> None:
    request = {**REQUEST, "count": 2}
    run_and_die(cloud, request, {"web-2": "host"})
    assert names(cloud) == {"web-1": "active", "web-2": "building"}
    with pytest.raises(HostFailed):
        run(cloud, request, {"web-2": "request"})
    assert names(cloud) == {"web-1": "active", "web-2": "error"}


def test_a_run_that_dies_while_it_gives_up_is_finished_by_the_next(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {**REQUEST, "count": 1}

    def die(*_words: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.getppid", lambda: NO_PROCESS)
        patched.setattr(Ledger, "finish_guests", die)
        with pytest.raises(KeyboardInterrupt):
            run(cloud, request, {"web": "request"})
    assert names(cloud) == {"web": "building"}
    run(cloud, request)
    assert names(cloud) == {"web": "active"}


def test_guests_that_could_not_be_removed_again_are_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = boot_undo.begin

    def lock_first(ledger: Ledger, one: Call, rows: list[GuestRow]) -> dict[str, Any]:
        ledger.lock_guests([row.uuid for row in rows if row.name == "web-1"], by="me", reason="mine")
        return begin(ledger, one, rows)

    monkeypatch.setattr(boot_undo, "begin", lock_first)
    with pytest.raises(HostFailed) as caught:
        run(cloud, {**REQUEST, "count": 3}, {"web-2": "request"})
    assert any("not removed" in line and "web-1" in line for line in caught.value.details)
    assert names(cloud) == {"web-1": "active", "web-2": "error", "web-3": "active"}


def test_fewer_are_taken_when_another_boot_used_the_quota_meanwhile(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(cloud, instances=4)
    choose, others = booking.choose, iter([{**REQUEST, "name": "other", "count": 3}])

    def choose_slowly(*words: Any, **more: Any) -> booking.Choice:
        chosen = choose(*words, **more)
        for other in others:
            run(cloud, other)
        return chosen

    monkeypatch.setattr(booking, "choose", choose_slowly)
    assert len(run(cloud, {**REQUEST, "count": 4, "min_count": 1})["guests"]) == 1
