# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from berth.cli.context import CliContext
from berth.errors import NotFound


def test_the_cloud_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "berth.yml").write_text("name: mine\n")
    context = CliContext(tmp_path)
    assert context.cloud.name == "mine"
    assert context.cloud is context.cloud


def test_a_folder_without_a_cloud(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no berth\.yml"):
        _ = CliContext(tmp_path).cloud


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("BERTH_CLOUD", raising=False)
    gone.rmdir()
    with pytest.raises(NotFound, match="the current directory is not there any more"):
        _ = CliContext().cloud
