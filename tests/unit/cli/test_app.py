# SPDX-License-Identifier: GPL-3.0-or-later
"""How the command line ends: a user's mistake and what the system refuses without a traceback, a bug with one."""

from __future__ import annotations

import errno
import json
import sys
from typing import NoReturn

import pytest

from berth.cli import app as app_module
from berth.cli.app import main

REFUSED = {
    "a missing file": (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"), "/x/y: No such file"),
    "a file of somebody else": (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied"),
    "a folder in place of a file": (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), "/x: Is a directory"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), "the system: No space left on device"),
    "a message alone": (FileNotFoundError("nothing to be found"), "the system: nothing to be found"),
}
BUGS = {
    "a descriptor that was closed": OSError(errno.EBADF, "Bad file descriptor"),
    "an odd argument": OSError(errno.EINVAL, "Invalid argument"),
    "no error of the system": KeyError("name"),
}


def ends_with(monkeypatch: pytest.MonkeyPatch, error: Exception, *words: str) -> None:
    """Runs `berth WORDS` whose verb raises the error."""

    def verb(**_options: object) -> NoReturn:
        raise error

    monkeypatch.setattr(app_module, "app", verb)
    monkeypatch.setattr(sys, "argv", ["berth", *words])
    main()


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_system_refuses_is_an_error_and_a_hint(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error, message = REFUSED[what]
    with pytest.raises(SystemExit) as ended:
        ends_with(monkeypatch, error, "list")
    assert ended.value.code == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {message}") and second.startswith("hint: ")


def test_as_data_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ends_with(monkeypatch, REFUSED["a missing file"][0], "list", "--format", "json")
    assert json.loads(capsys.readouterr().err)["message"].startswith("/x/y: ")


def test_debug_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        ends_with(monkeypatch, REFUSED["a missing file"][0], "--debug", "list")


@pytest.mark.parametrize("what", BUGS)
def test_a_bug_keeps_its_traceback(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(BUGS[what])):
        ends_with(monkeypatch, BUGS[what], "list")
