# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from berth.runner import CONDUCTOR, VALIDATION, Progress, _Collector


def event(kind: str, action: str, outcome: dict[str, Any] | None = None, host: str = "h1") -> dict[str, Any]:
    data = {"resolved_action": action, "task": f"do {action}", "host": host, "res": outcome or {}}
    return {"event": f"runner_on_{kind}", "event_data": data}


def test_what_happened_is_told_and_kept() -> None:
    told: list[Progress] = []
    collect = _Collector(told.append)
    for one in (
        event("ok", VALIDATION, {"changed": False}),
        event("ok", "berth.kvm.guest", {"changed": True}),
        event("failed", "berth.kvm.image", {"msg": "no space"}),
        event("unreachable", "berth.kvm.guest", {"msg": "no route"}, "h2"),
        event("ok", CONDUCTOR, {"work": {}}, "localhost"),
        {"event": "verbose", "event_data": {}},
    ):
        assert collect(one) is False
    assert [(one.kind, one.name, one.host) for one in told] == [
        ("changed", "do berth.kvm.guest", "h1"),
        ("failed", "do berth.kvm.image", "h1"),
        ("unreachable", "do berth.kvm.guest", "h2"),
        ("ok", f"do {CONDUCTOR}", "localhost"),
    ]
    assert collect.result.failures == {"h1": "no space"} and collect.result.unreachable == {"h2": "no route"}
    assert collect.result.last == {"work": {}}


def test_a_role_that_was_given_something_wrong_says_so() -> None:
    told: list[Progress] = []
    _Collector(told.append)(event("failed", VALIDATION, {"msg": "missing: plans"}))
    assert [(one.kind, one.message) for one in told] == [("failed", "missing: plans")]
