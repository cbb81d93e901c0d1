# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from berth.run_folder import PREFIX, YOUNG_S, run_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    then = time.time() - YOUNG_S - 1
    os.utime(folder, (then, then))


def test_a_folder_is_private_and_goes_with_its_run(temporary: Path) -> None:
    with pytest.raises(KeyError), run_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "secret").write_text("x")
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_left(temporary: Path) -> None:
    left = temporary / f"{PREFIX}left"
    (left / "env").mkdir(parents=True)
    (left / "env" / "extravars").write_text("secret")
    age(left)
    with run_folder():
        assert not left.exists()


def test_what_a_live_run_works_in_stays(temporary: Path) -> None:
    with run_folder() as first:
        age(first)
        with run_folder() as second:
            assert first.exists() and second != first


def test_a_folder_that_was_just_made_stays(temporary: Path) -> None:
    (temporary / f"{PREFIX}new").mkdir()
    with run_folder():
        assert (temporary / f"{PREFIX}new").exists()


def test_a_link_is_not_followed(temporary: Path) -> None:
    (temporary / "kept").mkdir()
    (temporary / "kept" / "file").touch()
    link = temporary / f"{PREFIX}link"
    link.symlink_to(temporary / "kept")
    os.utime(link, (1, 1), follow_symlinks=False)
    with run_folder():
        assert (temporary / "kept" / "file").exists()
