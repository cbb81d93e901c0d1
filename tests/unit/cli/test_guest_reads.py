# SPDX-License-Identifier: GPL-3.0-or-later
"""What `berth quota show`, `list`, `show` and `events` print."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from berth.cli.app import app
from berth.cloud import Cloud
from berth.errors import NotFound
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh

_FLOW = runpy.run_path(str(Path(__file__).parents[1] / "verbs/test_boot_flow.py"))
cloud = _FLOW["cloud"]
REQUEST = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"]}


@pytest.fixture
def web(cloud: Cloud) -> dict[str, Any]:
    return dict(_FLOW["booted"](cloud, REQUEST)["guests"][0])


def read(cloud: Cloud, *words: str) -> Any:
    result = CliRunner().invoke(app, ["--cloud", str(cloud.path), *words, "--format", "json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def test_a_quota_is_shown_with_what_is_used(cloud: Cloud, web: dict[str, Any]) -> None:
    projects = {"projects": [{"name": "default", "quota": {"instances": 3, "disk_gib": 1}}, {"name": "dev"}]}
    (cloud.path / "catalog/projects.yml").write_text(yaml.safe_dump(projects))
    rows = {(row["project"], row["resource"]): row for row in read(cloud, "quota", "show")}
    guests = rows["default", "guests"]
    assert (guests["used"], guests["limit"], guests["left"]) == (1, 3, 2)
    assert (rows["default", "disk_mib"]["used"], rows["default", "disk_mib"]["left"]) == (2048, 0)
    assert rows["dev", "guests"]["limit"] is None and rows["dev", "guests"]["used"] == 0
    assert {row["project"] for row in read(cloud, "quota", "show", "dev")} == {"dev"}
    with pytest.raises(NotFound, match="no project 'def'"):
        read(cloud, "quota", "show", "def")


def test_a_guest_tells_its_whole_history_also_when_it_is_gone(cloud: Cloud, web: dict[str, Any]) -> None:
    shown = read(cloud, "show", "web")
    (action,) = shown["actions"]
    assert action["request_id"] == shown["request_id"] and action["verb"] == "boot" and "@" in action["who"]
    assert action["started_at"] and action["ended_at"] and action["error"] is None
    (event,) = read(cloud, "events", "web")["actions"]
    assert [step["step"] for step in event["steps"]] == ["record", "claim", "activate"]
    assert all(step["ended_at"] and step["outcome"] == "ok" for step in event["steps"])
    table = CliRunner().invoke(app, ["--cloud", str(cloud.path), "show", "web"]).stdout
    assert f"boot by {action['who']} at {action['started_at']}: done" in table
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.delete_guests([web["uuid"]])
    assert read(cloud, "events", "web")["uuid"] == web["uuid"]
    assert read(cloud, "show", web["uuid"])["state"] == "deleted"
    with pytest.raises(NotFound):
        read(cloud, "show", "web")


def test_guests_of_a_silent_host_are_marked(cloud: Cloud, web: dict[str, Any]) -> None:
    assert [row["stale"] for row in read(cloud, "list")] == [False]
    with Ledger.open(cloud.ledger_url) as ledger:
        silent = HostUpdate(web["host"], unreachable_message="no route")
        ledger.store_hosts(Refresh([silent], {}, "d", 1.0))
    assert [row["stale"] for row in read(cloud, "list")] == [True]
    result = CliRunner().invoke(app, ["--cloud", str(cloud.path), "list"])
    assert "running?" in result.stdout and f"host {web['host']}: no route" in result.stderr
