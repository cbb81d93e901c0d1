# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud, Settings
from berth.errors import HostFailed
from berth.runner import (
    CONDUCTOR,
    DEBUG,
    VALIDATION,
    Progress,
    _Collector,
    _environment,
    last_words,
    run_playbook,
)


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


BROKEN_YAML = """\
\x1b[1;35m[WARNING]: Failed to parse inventory with 'yaml' plugin: YAML parsing failed: no expected key.\x1b[0m
\x1b[1;35m\x1b[0m
\x1b[1;35m<<< caused by >>>\x1b[0m
\x1b[1;35mOrigin: /c/inventory/hosts.yml:5:6\x1b[0m

\x1b[1;35m3     h1:\x1b[0m
\x1b[1;35m[WARNING]: Failed to parse inventory with 'ini' plugin: Invalid host pattern 'compute:' supplied.\x1b[0m
\x1b[1;35mOrigin: /c/inventory/hosts.yml\x1b[0m
\x1b[0;31m[ERROR]: Completely failed to parse inventory source /c/inventory\x1b[0m
"""
BROKEN_VARIABLES = """\
[WARNING]: something else
Origin: /c/ansible.cfg
[ERROR]: YAML parsing failed: This may be an issue with missing quotes.
Origin: /c/inventory/group_vars/compute.yml:3:1

1 ---
""" + "a later line\n" * 20  # fmt: skip


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        pytest.param(
            BROKEN_YAML,
            (
                "[WARNING]: Failed to parse inventory with 'yaml' plugin: YAML parsing failed: no expected key.",
                "Origin: /c/inventory/hosts.yml:5:6",
                "[ERROR]: Completely failed to parse inventory source /c/inventory",
            ),
            id="the line that is wrong, though Ansible only warns of it",
        ),
        pytest.param(
            BROKEN_VARIABLES,
            (
                "[ERROR]: YAML parsing failed: This may be an issue with missing quotes.",
                "Origin: /c/inventory/group_vars/compute.yml:3:1",
            ),
            id="the first error with its line",
        ),
        pytest.param("\x1b[31m[ERROR]: no\x1b[0m\nsuch playbook\n", ("[ERROR]: no",), id="an error of no file"),
        pytest.param(
            "".join(f"line {n}\n \n" for n in range(12)), tuple(f"line {n}" for n in range(4, 12)), id="others"
        ),
        pytest.param("", (), id="nothing"),
    ],
)
def test_of_a_run_that_did_not_start_the_cause_is_kept(printed: str, words: tuple[str, ...]) -> None:
    assert last_words(printed) == words


@pytest.mark.parametrize(("debug", "plain"), [(False, "1"), (True, None)])
def test_colours_are_for_people_who_read_ansible_themselves(tmp_path: Path, debug: bool, plain: str | None) -> None:
    assert _environment(Cloud(tmp_path, Settings()), debug=debug).get("ANSIBLE_NOCOLOR") == plain


def test_a_broken_inventory_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("compute:\n  hosts:\n    h1:\n      ansible_port: 1\n     bad: [\n")
    result = run_playbook(Cloud(tmp_path, Settings()), "host_refresh")
    with pytest.raises(HostFailed) as caught:
        result.raise_for_failure()
    said = "\n".join(caught.value.details)
    assert "hosts.yml:5:6" in said and "[ERROR]: Completely failed to parse" in said and "\x1b" not in said
