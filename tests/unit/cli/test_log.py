# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth log` shows what a guest wrote: it does not drive the terminal, and in a pipe no byte is changed."""

from __future__ import annotations

import io
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from berth.cli.app import app
from berth.cli.log import readable_lines
from berth.cloud import Cloud
from berth.errors import HostFailed
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh

_FLOW = runpy.run_path(str(Path(__file__).parents[1] / "verbs/test_boot_flow.py"))
cloud = _FLOW["cloud"]
REQUEST = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"]}
WRITTEN = b"first\r\n\x1b]0;owned\x07\tred\x1b[31m\xff\n\nlogin: "
SHOWN = ["first", "\\x1b]0;owned\\x07      red\\x1b[31m\\xff", "", "login: "]


@pytest.fixture
def console(cloud: Cloud, tmp_path: Path) -> Path:
    """Returns the console log of the guest web, on a host that is this machine, with what the guest wrote."""
    names, variables = ("h1", "h2", "h3"), {"berth_consoles_path": str(tmp_path)}
    updates = [HostUpdate(name, _FLOW["facts"](name), groups=("compute",), variables=variables) for name in names]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh(updates, {}, "sha256:0", time.time()))
    (guest,) = _FLOW["booted"](cloud, REQUEST)["guests"]
    reached = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = dict.fromkeys(names, reached)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text(yaml.safe_dump({"compute": {"hosts": hosts}}))
    return tmp_path / f"{guest['uuid']}.log"


def log(cloud: Cloud, *words: str) -> Any:
    result = CliRunner().invoke(app, ["--cloud", str(cloud.path), "log", "web", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_byte_reaches_a_pipe(cloud: Cloud, console: Path) -> None:
    console.write_bytes(b"before\n" + WRITTEN)
    assert log(cloud, "--lines", "4").stdout_bytes == WRITTEN


def test_as_data_it_is_lines_of_text(cloud: Cloud, console: Path) -> None:
    console.write_bytes(WRITTEN)
    shown = json.loads(log(cloud, "--format", "json").stdout)
    assert (shown["name"], shown["lines"]) == (
        "web",
        ["first", "\x1b]0;owned\x07\tred\x1b[31m\ufffd", "", "login: "],
    )
    assert shown["host"] in ("h1", "h2", "h3") and len(shown["uuid"]) == 36


def test_a_log_that_is_not_there_is_told_with_the_reason(cloud: Cloud, console: Path) -> None:
    with pytest.raises(HostFailed) as caught:
        log(cloud)
    assert "No such file or directory" in caught.value.details[0]


def test_on_a_terminal_it_is_escaped() -> None:
    assert readable_lines(WRITTEN) == SHOWN
    assert readable_lines(b"") == [] and readable_lines("grün\n".encode()) == ["grün"]


def test_it_asks_whether_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from berth.cli import log as module

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(raw, encoding="utf-8"))
    module.write_log(WRITTEN)
    sys.stdout.flush()
    assert raw.getvalue().decode().splitlines() == SHOWN
