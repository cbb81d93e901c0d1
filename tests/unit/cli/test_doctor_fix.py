# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth doctor --fix` mends what is safe unasked, and nothing else."""

from __future__ import annotations

import io

import pytest

from berth.cli import doctor

FINDINGS = [
    {"host": "h1", "found": "all is well", "fix": "", "key": "", "mend": "", "status": "ok"},
    {
        "host": "h1",
        "found": "a log of a deleted guest",
        "fix": "remove it",
        "key": "log",
        "mend": "safe",
        "status": "warn",
    },
    {"host": "h1", "found": "a disk nobody knows", "fix": "remove it", "key": "disk", "mend": "ask", "status": "warn"},
    {"host": "h2", "found": "a guest elsewhere", "fix": "record it", "key": "moved", "mend": "ask", "status": "warn"},
]


def test_where_nobody_can_be_asked_only_what_is_safe_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_terminal", lambda: False)
    assert doctor._agreed(FINDINGS) == ["log"]


def test_on_a_terminal_each_other_thing_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "has_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\ny\n"))
    assert doctor._agreed(FINDINGS) == ["log", "moved"]
    asked = capsys.readouterr().err
    assert "a disk nobody knows" in asked and "a guest elsewhere" in asked and "a log of" not in asked
