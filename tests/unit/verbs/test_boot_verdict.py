# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT, Fate, judge

PULLED = {"images": [{"name": "tiny", "ok": True}]}


def image(**said: Any) -> dict[str, Any]:
    return {IMAGE_RESULT: {"images": [{"name": "tiny", "ok": False, "message": "said", **said}]}}


def guest(**said: Any) -> dict[str, Any]:
    item = {"uuid": "u", "ok": False, "message": "said", "state": "absent", "steps": ["check"], **said}
    return {IMAGE_RESULT: PULLED, GUEST_RESULT: {"guests": [{"uuid": "other", "ok": True}, item]}}


def silent(**said: Any) -> dict[str, Any]:
    return {IMAGE_RESULT: PULLED, GUEST_RESULT: {"msg": "said", **said}}


# What the host answered; the fate when nothing is known of the guest there, and when an earlier run had sent it.
CASES = {
    "it runs": (guest(ok=True, state="running"), Fate.MADE, Fate.MADE),
    "no room": (guest(kind="host"), Fate.ELSEWHERE, Fate.ELSEWHERE),
    "no host can help": (guest(kind="request"), Fate.REFUSED, Fate.REFUSED),
    "no host can help, but it is there": (guest(kind="request", state="running"), Fate.LOST, Fate.LOST),
    "it is there": (guest(kind="here", state="shutdown", steps=["check", "start"]), Fate.LOST, Fate.LOST),
    "undo failed": (guest(kind="here", state="unknown", steps=["check", "disk"]), Fate.LOST, Fate.LOST),
    "libvirt is down": (guest(kind="here", state="unknown", steps=[]), Fate.ELSEWHERE, Fate.LOST),
    "refused by the controller": (guest(kind="request", state="unknown", steps=[]), Fate.REFUSED, Fate.LOST),
    "image: disk full": (image(kind="host"), Fate.ELSEWHERE, Fate.LOST),
    "image: refused": (image(kind="request"), Fate.REFUSED, Fate.LOST),
    "unreachable before the image": ({IMAGE_RESULT: {"unreachable": True, "msg": "said"}}, Fate.ELSEWHERE, Fate.LOST),
    "no answer at all": ({}, Fate.ELSEWHERE, Fate.LOST),
    "skipped after no answer": (
        {IMAGE_RESULT: {"unreachable": True, "msg": "said"}, GUEST_RESULT: {"skipped": True}},
        Fate.ELSEWHERE,
        Fate.LOST,
    ),
    "cut off in the middle": (silent(unreachable=True), Fate.LOST, Fate.LOST),
    "the module crashed": (silent(failed=True), Fate.LOST, Fate.LOST),
}


@pytest.mark.parametrize("name", CASES)
def test_a_guest_that_may_be_on_a_host_goes_nowhere_else(name: str) -> None:
    answer, fresh, sent = CASES[name]
    assert judge("u", "tiny", answer, sent_before=False).fate is fresh
    assert judge("u", "tiny", answer, sent_before=True).fate is sent


def test_the_reason_is_the_hosts_own() -> None:
    assert judge("u", "tiny", guest(kind="host"), sent_before=False).message == "said"
    assert judge("u", "tiny", silent(unreachable=True), sent_before=False).message == "unreachable: said"
    assert judge("u", "tiny", {}, sent_before=False).message == "the host did not answer"
