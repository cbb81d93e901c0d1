# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth delete` shows what will go, and never deletes unasked."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from berth.cli import delete
from berth.cli.app import app
from berth.cloud import Cloud
from berth.errors import InvalidInput

_FLOW = runpy.run_path(str(Path(__file__).parents[1] / "verbs/test_boot_flow.py"))
cloud = _FLOW["cloud"]
REQUEST = {"name": "web", "count": 2, "flavor": "small", "image": "tiny", "networks": ["lan"]}


@pytest.fixture
def booted(cloud: Cloud) -> dict[str, Any]:
    return {guest["name"]: guest for guest in _FLOW["booted"](cloud, REQUEST)["guests"]}


def run(cloud: Cloud, *names: str, answer: str = "") -> Any:
    return CliRunner().invoke(app, ["--cloud", str(cloud.path), "delete", *names], input=answer)


def test_without_a_terminal_it_is_refused_with_what_would_have_gone(cloud: Cloud, booted: dict[str, Any]) -> None:
    result = run(cloud, "web-1", "web-2")
    assert isinstance(result.exception, InvalidInput) and "--yes" in result.exception.hint
    for name, line in zip(("web-1", "web-2"), result.exception.details, strict=True):
        assert line.startswith(f"{name} on {booted[name]['host']}: 2 GiB, /var/lib/berth/instances/")
        assert line.endswith(f"{booted[name]['uuid']}.log")


def test_on_a_terminal_it_lists_and_asks(cloud: Cloud, booted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete, "has_terminal", lambda: True)
    result = run(cloud, "web-1", "gone", answer="n\n")
    assert result.exit_code == 1
    assert f"web-1 on {booted['web-1']['host']}: 2 GiB" in result.output and "gone: not in the ledger" in result.output


def test_of_a_host_that_is_gone_nothing_is_said_to_go(
    cloud: Cloud, booted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "has_terminal", lambda: True)
    result = run(cloud, "web-1", "--host-is-gone", "h1", answer="n\n")
    assert result.exit_code == 1 and "forgotten; what is on h1 of them is not touched" in result.output


def test_the_playbook_is_told_which_host_is_gone(
    cloud: Cloud, booted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def play(_cloud: Cloud, name: str, variables: dict[str, Any], **_more: Any) -> Any:
        asked.append((name, variables["berth_request"]))
        raise InvalidInput("enough")

    monkeypatch.setattr("berth.runner.run_playbook", play)
    run(cloud, "web-1", "--yes", "--host-is-gone", "h1")
    run(cloud, "web-1", "--yes")
    assert asked == [
        ("guest_delete", {"names": ["web-1"], "host_is_gone": "h1"}), ("guest_delete", {"names": ["web-1"]}),
    ]  # fmt: skip
