# SPDX-License-Identifier: GPL-3.0-or-later
"""Every verb answers with data when it is asked to, also those that only change a mark."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from berth.cli.app import app
from berth.cloud import Cloud

_FLOW = runpy.run_path(str(Path(__file__).parents[1] / "verbs/test_boot_flow.py"))
cloud = _FLOW["cloud"]
REQUEST = {"name": "web", "count": 2, "flavor": "small", "image": "tiny", "networks": ["lan"]}


def verbs(command: Any, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yields each verb with its options."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from verbs(below, f"{path} {name}".strip())
    else:
        yield path, {option for parameter in command.params for option in parameter.opts}


def test_every_verb_has_a_format() -> None:
    without = {name for name, options in verbs(typer.main.get_command(app)) if "--format" not in options}
    assert without == {"ssh"}  # it becomes the ssh client


def run(cloud: Cloud, *words: str) -> str:
    result = CliRunner().invoke(app, ["--cloud", str(cloud.path), *words])
    if result.exception:
        raise result.exception
    return result.stdout


def test_hosts_are_enabled_and_disabled(cloud: Cloud) -> None:
    assert run(cloud, "host", "disable", "h1", "--reason", "fans") == "host h1: disabled\n"
    shown = {"name": "h1", "state": "disabled", "enabled": False, "disabled_reason": "fans"}
    assert json.loads(run(cloud, "host", "disable", "h1", "--reason", "fans", "--format", "json")) == shown
    shown = {"name": "h1", "state": "enabled", "enabled": True, "disabled_reason": None}
    assert yaml.safe_load(run(cloud, "host", "enable", "h1", "--format", "yaml")) == shown
    assert run(cloud, "host", "enable", "h1") == "host h1: enabled\n"


def test_guests_are_locked_and_unlocked(cloud: Cloud) -> None:
    guests = _FLOW["booted"](cloud, REQUEST)["guests"]
    assert run(cloud, "lock", "web-1") == "locked: web-1\n"
    rows = json.loads(run(cloud, "lock", "web-2", "web-1", "--reason", "mine", "--format", "json"))
    assert [(row["name"], row["state"], row["locked"]["reason"]) for row in rows] == [
        ("web-2", "active", "mine"),
        ("web-1", "active", "mine"),
    ]
    rows = json.loads(run(cloud, "unlock", "web-1", "web-2", "-f", "json"))
    assert [(row["uuid"], row["locked"]) for row in rows] == [(guest["uuid"], None) for guest in guests]
    assert run(cloud, "unlock", "web-1") == "unlocked: web-1\n"


def test_an_export_says_where_it_is(cloud: Cloud, tmp_path: Path) -> None:
    file = str(tmp_path / "copy.json")
    assert json.loads(run(cloud, "ledger", "export", file, "--format", "json")) == {"file": file}
    assert run(cloud, "ledger", "export", f"{file}.2") == f"{file}.2: written\n"


def test_a_fleet_is_exported_in_the_format_of_the_file(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    assert run(cloud, "host", "export", str(file), "--format", "json") == f"{file}: written\n"
    assert json.loads(file.read_text())["hosts"]


@pytest.mark.parametrize("verb", ["lock", "unlock"])
def test_nothing_is_printed_of_what_is_not_there(cloud: Cloud, verb: str) -> None:
    result = CliRunner().invoke(app, ["--cloud", str(cloud.path), verb, "nobody", "--format", "json"])
    assert result.exit_code != 0 and result.stdout == ""
