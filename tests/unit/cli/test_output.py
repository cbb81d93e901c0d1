# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
import yaml

from berth.cli.output import Format, cell, fail, print_item, print_rows, printable
from berth.errors import BerthError, Busy, InvalidInput, NotFound, Problem

ROWS = [
    {"name": "web-1", "memory_mib": 512, "hosts": ["h1", "h2"], "metadata": {"a": "b"}, "extra": True},
    {"name": "db", "memory_mib": None, "hosts": [], "metadata": {}, "extra": False},
]


def test_a_table_of_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, ("name", "memory_mib", "hosts", "missing"), Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "NAME   MEMORY MIB  HOSTS   MISSING",
        "web-1  512         h1, h2  -",
        "db     -           -       -",
    ]


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], ("name", "state"), Format.TABLE)
    assert capsys.readouterr().out == "NAME  STATE\n"


@pytest.mark.parametrize(("fmt", "read"), [(Format.JSON, json.loads), (Format.YAML, yaml.safe_load)])
def test_data_has_everything(capsys: pytest.CaptureFixture[str], fmt: Format, read: Any) -> None:
    print_rows(ROWS, ("name",), fmt)
    assert read(capsys.readouterr().out) == ROWS
    print_rows([], ("name",), fmt)
    assert read(capsys.readouterr().out) == []
    print_item(ROWS[0], fmt)
    assert read(capsys.readouterr().out) == ROWS[0]


def test_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    print_item(ROWS[0], Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "FIELD       VALUE",
        "name        web-1",
        "memory mib  512",
        "hosts       h1, h2",
        "metadata    a=b",
        "extra       yes",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        (False, "no"),
        ({"a": {"b": [1, 2]}}, "a=b=1, 2"),
        ("a\nb", "a b"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202eevil", "\\u202eevil"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("grün", "grün"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert cell(value) == text


def test_a_terminal_gets_no_control_characters_and_no_markup() -> None:
    """On a real terminal, where rich draws: markup in a name stays text and escapes do not reach the terminal."""
    code = (
        "from berth.cli.output import *;"
        "print_rows([{'name': '[bold]x[/bold]', 'state': '\\x1b]0;title\\x07'}], ('name', 'state'), Format.TABLE)"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stdout=follower, check=True, env=environment)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "[bold]x[/bold]" in shown and "\\x1b]0;title\\x07" in shown
    assert "\x1b]" not in shown and "\x07" not in shown


def test_printable_keeps_one_line() -> None:
    assert printable("a\r\nb\x85c") == "a b c"


def failed(error: BerthError, fmt: Format, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        fail(error, fmt)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.err


def test_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    error = InvalidInput.from_problems("catalog", [Problem("a.yml:1", "x\x1b"), Problem("", "y")], hint="mend\nit")
    assert failed(error, Format.TABLE, capsys) == (
        2,
        "error: catalog: 2 mistakes\n  a.yml:1: x\\x1b\n  y\nhint: mend it\n",
    )


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(Busy("taken"), Format.TABLE, capsys) == (8, "error: taken\n")


@pytest.mark.parametrize(("fmt", "read"), [(Format.JSON, json.loads), (Format.YAML, yaml.safe_load)])
def test_an_error_as_data(capsys: pytest.CaptureFixture[str], fmt: Format, read: Any) -> None:
    error = NotFound("no guest x", hint="berth list", details=("a",), data={"name": "x"})
    code, text = failed(error, fmt, capsys)
    assert code == 3
    assert read(text) == error.to_dict()


@pytest.mark.parametrize(
    "module", [f"berth.cli.{name}" for name in ("app", "output", "context", "catalog", "init", "ledger")]
)
def test_nothing_heavy_is_imported(module: str) -> None:
    heavy = {"pydantic", "numpy", "sqlalchemy", "ansible_runner", "ansible", "libvirt", "alembic", "paramiko"}
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    assert not {name.split(".")[0] for name in loaded} & heavy
