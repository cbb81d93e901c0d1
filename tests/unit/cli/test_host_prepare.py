# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth host prepare` when a host fails: the others have their facts, and the exit status says what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from berth.cli.app import app
from berth.errors import BerthError, HostFailed, InvalidInput, NotFound, Partial
from berth.runner import RunResult

DOWN = "Failed to connect to the host via ssh"


def row(name: str, status: str = "ok") -> dict[str, Any]:
    said = "" if status == "ok" else DOWN
    return {"name": name, "status": status, "domain_type": None if said else "kvm", "message": said}


def refreshed(*rows: dict[str, Any]) -> RunResult:
    return RunResult("successful", conducted=[{"refreshed": list(rows), "guests": []}])


def prepared(*names: str, **unreachable: str) -> RunResult:
    finish = [{"prepared": list(names)}] if names or not unreachable else []
    return RunResult("failed" if unreachable else "successful", conducted=finish, unreachable=unreachable)


class Runs:
    """Stands for the playbooks: gives back what each is to leave and notes that it ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cloud: Path) -> None:
        (cloud / "berth.yml").write_text("name: test\n")
        self.cloud, self.results, self.ran = cloud, dict[str, RunResult](), list[str]()
        monkeypatch.setattr("berth.runner.run_playbook", self._run)

    def _run(self, _cloud: Any, playbook: str, *_args: Any, **_options: Any) -> RunResult:
        self.ran.append(playbook)
        return self.results[playbook]

    def berth(self, *words: str) -> tuple[str, BerthError | None]:
        result = CliRunner().invoke(app, ["--cloud", str(self.cloud), *words])
        if result.exception and not isinstance(result.exception, BerthError):
            raise result.exception
        return result.stdout, result.exception


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    return Runs(monkeypatch, tmp_path)


def test_a_host_that_is_down_leaves_the_others_with_their_facts(runs: Runs) -> None:
    runs.results = {
        "host_prepare": prepared("h1", "h3", h2=DOWN),
        "host_refresh": refreshed(row("h1"), row("h2", "unreachable"), row("h3")),
    }
    out, error = runs.berth("host", "prepare", "--format", "json")
    assert runs.ran == ["host_prepare", "host_refresh"]
    assert isinstance(error, Partial) and error.details == (f"h2: {DOWN}",)
    assert "1 of 3 hosts" in error.message and error.data["failed"] == {"h2": DOWN}
    assert {each["name"]: each["prepared"] for each in json.loads(out)} == {"h1": True, "h2": False, "h3": True}


def test_where_nobody_was_prepared_it_failed(runs: Runs) -> None:
    runs.results = {"host_prepare": prepared(h1=DOWN), "host_refresh": refreshed(row("h1", "unreachable"))}
    _, error = runs.berth("host", "prepare")
    assert isinstance(error, HostFailed) and error.details == (f"h1: {DOWN}",)


def test_the_first_failure_is_told_when_the_facts_fail_too(runs: Runs) -> None:
    runs.results = {"host_prepare": prepared("h1", h2=DOWN), "host_refresh": RunResult("failed")}
    _, error = runs.berth("host", "prepare")
    assert isinstance(error, Partial) and error.details == (f"h2: {DOWN}",)


@pytest.mark.parametrize(
    "nothing_began",
    [
        RunResult("failed", conducted=[{"berth_error": InvalidInput("no").to_dict()}], failures={"localhost": "no"}),
        RunResult("failed", last_words=("no",)),
    ],
    ids=["refused by the conductor", "Ansible did not start"],
)
def test_where_nothing_began_no_host_is_asked(runs: Runs, nothing_began: RunResult) -> None:
    runs.results = {"host_prepare": nothing_began}
    _, error = runs.berth("host", "prepare")
    assert isinstance(error, InvalidInput | HostFailed) and runs.ran == ["host_prepare"]


def test_prepared_hosts_without_facts_are_no_success(runs: Runs) -> None:
    runs.results = {"host_prepare": prepared("h1", "h2"), "host_refresh": refreshed(row("h1"), row("h2", "failed"))}
    _, error = runs.berth("host", "prepare")
    assert isinstance(error, Partial) and error.details == (f"h2: {DOWN}",)


def test_all_is_well(runs: Runs) -> None:
    runs.results = {"host_prepare": prepared("h1"), "host_refresh": refreshed(row("h1"))}
    out, error = runs.berth("host", "prepare")
    assert error is None and out.split() == "NAME PREPARED STATUS DOMAIN TYPE MESSAGE h1 yes ok kvm -".split()


@pytest.mark.parametrize("verb", ["prepare", "refresh"])
def test_a_pattern_that_matches_no_host(runs: Runs, verb: str) -> None:
    runs.results = {"host_prepare": prepared(), "host_refresh": refreshed()}
    _, error = runs.berth("host", verb, "web*")
    assert isinstance(error, NotFound) and "web*" in error.message
