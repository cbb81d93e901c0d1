# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from berth.runner import CONDUCTOR, DEBUG, VALIDATION, Progress, _Collector


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


SAID = [
    pytest.param(DEBUG, {"msg": "open port 16514"}, [("said", "open port 16514")], id="a message"),
    pytest.param(
        DEBUG,
        {"msg": "All items completed", "results": [{"msg": "a"}, {"skipped": True}, {"msg": "b"}]},
        [("said", "a"), ("said", "b")],
        id="a message per item",
    ),
    pytest.param(DEBUG, {"msg": ["a", 1]}, [("said", '["a", 1]')], id="data"),
    pytest.param(DEBUG, {"some_variable": 1}, [], id="a variable"),
    pytest.param(
        "berth.kvm.network",
        {"msg": "", "warnings": ["takes effect when next started", "takes effect when next started"]},
        [("ok", ""), ("warning", "takes effect when next started")],
        id="a warning",
    ),
    pytest.param(
        "berth.kvm.pool",
        {"changed": True, "msg": "All items completed", "results": [{"warnings": ["old"]}]},
        [("changed", "All items completed"), ("warning", "old")],
        id="a warning of an item",
    ),
    pytest.param("berth.kvm.pool", {"msg": "hidden", "warnings": "no list"}, [("ok", "hidden")], id="what is no list"),
]


@pytest.mark.parametrize(("action", "outcome", "told"), SAID)
def test_what_a_role_says_to_people_is_told(action: str, outcome: dict[str, Any], told: list[tuple[str, str]]) -> None:
    heard: list[Progress] = []
    _Collector(heard.append)(event("ok", action, outcome))
    assert [(one.kind, one.message) for one in heard] == told
    assert {(one.name, one.host) for one in heard} <= {(f"do {action}", "h1")}


def test_a_failed_task_has_its_warnings_told_too() -> None:
    heard: list[Progress] = []
    _Collector(heard.append)(event("failed", "berth.kvm.pool", {"msg": "no", "warnings": ["old"]}))
    assert [(one.kind, one.message) for one in heard] == [("failed", "no"), ("warning", "old")]
