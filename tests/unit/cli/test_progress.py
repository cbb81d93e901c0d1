# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see of a run: on stderr, one line each, nothing in it that could drive the terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from berth.cli.progress import progress
from berth.runner import Progress

TOLD = [
    Progress("task", "Say what to open"),
    Progress("said", "Say what to open", "h1", "open [port] 16514\nfor \x1b]0;all\x07"),
    Progress("warning", "Keep the networks", "h1", "takes effect when next started"),
    Progress("changed", "Make folders", "h1", "not shown"),
    Progress("failed", "Make \x1b[31mfolders", "h2", "no space\nleft"),
    Progress("ok", "Look"),
]


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("preparing \x1bhosts") as observe:
        assert observe is not None
        for one in TOLD:
            observe(one)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "preparing \\x1bhosts ...",
        "  h1: Say what to open: open [port] 16514 for \\x1b]0;all\\x07",
        "  h1: Keep the networks: warning: takes effect when next started",
        "  h1: Make folders: changed",
        "  h2: Make \\x1b[31mfolders: failed: no space",
    ]


def test_on_a_terminal_the_same_is_said() -> None:
    code = (
        "from berth.cli.progress import progress\nfrom berth.runner import Progress\n"
        f"with progress('preparing') as observe:\n    [observe(one) for one in {TOLD!r}]\n"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=follower, check=True, env=environment)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "h1: Say what to open: open [port] 16514 for \\x1b]0;all\\x07" in shown
    assert "warning: takes effect when next started" in shown and "h2: Make \\x1b[31mfolders: failed: no space" in shown
    assert "\x1b]0" not in shown and "\x07" not in shown
