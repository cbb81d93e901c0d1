# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in the command line read like every other error: `error:`, `hint:`, or data, and exit status 2."""

from __future__ import annotations

import json
import sys

import pytest
import typer
import yaml

from berth.cli import app as cli

MISTAKES = [
    pytest.param(
        ["lst"], "berth: no such command 'lst'", "did you mean 'list'? `berth --help` shows what it takes", id="command"
    ),
    pytest.param(["host", "xyzzy"], "berth host: no such command 'xyzzy'", "`berth host --help`", id="subcommand"),
    pytest.param(["list", "--formt"], "berth list: no such option: --formt", "did you mean --format", id="option"),
    pytest.param(["list", "--zzz"], "berth list: no such option: --zzz", "`berth list --help`", id="strange option"),
    pytest.param(["boot"], "berth boot: missing argument 'name'", "`berth boot --help`", id="missing argument"),
    pytest.param(["boot", "x", "--flavor"], "berth: option '--flavor' requires", "`berth --help`", id="missing value"),
    pytest.param(["list", "--format", "jsn"], "berth list: invalid value for '--format'", "`berth", id="bad choice"),
    pytest.param(["log", "x", "-n", "0"], "berth log: invalid value for '--lines'", "`berth log", id="out of range"),
    pytest.param(["list", "web"], "berth list: got unexpected extra argument", "`berth list --help`", id="too much"),
]  # fmt: skip


def berth(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["berth", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(("words", "message", "hint"), MISTAKES)
def test_a_mistake_is_an_error_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str, hint: str
) -> None:
    assert berth(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == "" and first.startswith(f"error: {message}") and second.startswith(f"hint: {hint}")
    assert not first.endswith(".")


@pytest.mark.parametrize("words", [["-f", "json"], ["-fjson"], ["--format=json"]])
def test_a_mistake_as_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert berth(monkeypatch, "list", *words, "--hosts", "h1") == 2
    error = json.loads(capsys.readouterr().err)
    assert (error["error"], error["exit_code"]) == ("InvalidInput", 2) and "--hosts" in error["message"]
    assert "did you mean --host" in error["hint"]


def test_a_mistake_as_yaml(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert berth(monkeypatch, "show", "--format", "yaml") == 2
    assert yaml.safe_load(capsys.readouterr().err)["message"] == "berth show: missing argument 'name'"


@pytest.mark.parametrize(("words", "code"), [(["list", "--help"], 0), (["host", "-h"], 0), ([], 2), (["host"], 2)])
def test_help_stays_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    assert berth(monkeypatch, *words) == code
    captured = capsys.readouterr()
    assert "Usage: berth" in captured.out + captured.err and "error:" not in captured.err


def test_a_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert berth(monkeypatch, "--version") == 0 and capsys.readouterr().out.startswith("berth ")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted: run the same command again"),
        (typer.Abort(), 1, "error: nobody answered"),
        (typer.Exit(5), 5, ""),
    ],
)
def test_other_ends(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    def verb() -> None:
        raise raised

    one = typer.Typer()
    one.command()(verb)
    monkeypatch.setattr(cli, "app", one)
    assert berth(monkeypatch) == code
    assert capsys.readouterr().err.startswith(said)
