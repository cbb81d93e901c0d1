# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth boot --wait-login` tells each login when it happens, from whatever thread it comes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berth.cli import boot
from berth.cli.context import CliContext
from berth.errors import HostFailed
from berth.login import Login, raise_for_missing

NAMES = [f"web-{number}" for number in range(20)]


def test_logins_are_told_as_they_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "berth.yml").write_text("")
    told_early: list[str] = []

    def wait(_cloud: Any, uuids: list[str], *, on_login: Callable[[Login], None], **_options: Any) -> list[Login]:
        logins = [Login(name, "refused" if name == "web-7" else "", 1.25) for name in uuids]
        threads = [threading.Thread(target=on_login, args=(login,)) for login in logins]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        sys.stderr.flush()
        told_early.extend(capsys.readouterr().err.splitlines())
        raise_for_missing(logins, 9)
        return logins

    monkeypatch.setattr("berth.cli.ssh.wait_for_guests", wait)
    guests = [{"name": name, "uuid": name} for name in NAMES]
    with pytest.raises(HostFailed, match="web-7"):
        boot._wait(CliContext(tmp_path), guests, 9, None)
    title, *lines = told_early
    assert title.startswith("waiting for a login to web-0, ")
    assert sorted(lines) == sorted(f"{name}: logged in after 1.2 s" for name in NAMES if name != "web-7")
    assert capsys.readouterr().err == ""
