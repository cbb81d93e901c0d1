# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.run_folder import PREFIX, run_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


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
    with run_folder():
        assert not left.exists()


def test_what_a_live_run_works_in_stays(temporary: Path) -> None:
    with run_folder() as first:
        with run_folder() as second:
            assert first.exists() and second != first


def test_a_folder_lost_before_it_was_locked_is_made_again(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make_and_lose_the_first(prefix: str) -> str:
        folder = temporary / f"{prefix}{len(made)}"
        if made:
            folder.mkdir()
        made.append(folder)
        return str(folder)

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose_the_first)
    with run_folder() as folder:
        assert folder == made[1] and folder.is_dir()
    assert list(temporary.iterdir()) == []


def test_many_runs_at_once_keep_their_folders(temporary: Path) -> None:
    def work(_number: int) -> bool:
        with run_folder() as folder:
            (folder / "env").mkdir()
            time.sleep(0.001)
            return (folder / "env").is_dir()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("where", ["missing", "file/below"])
def test_without_a_folder_for_it_the_next_step_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (temporary / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / where))
    with pytest.raises(BerthError, match=f"{where}: no folder for this run can be made: ") as raised, run_folder():
        pass
    assert "TMPDIR" in raised.value.hint


def test_without_any_temporary_folder_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    with pytest.raises(BerthError, match=r"No usable temporary directory found in \['/nonexistent'\]") as raised:
        with run_folder():
            pass
    assert "TMPDIR" in raised.value.hint


def test_what_is_raised_inside_is_no_matter_of_the_folder() -> None:
    with pytest.raises(FileNotFoundError), run_folder() as folder:
        (folder / "missing").read_text()


def test_a_link_is_not_followed(temporary: Path) -> None:
    (temporary / "kept").mkdir()
    (temporary / "kept" / "file").touch()
    link = temporary / f"{PREFIX}link"
    link.symlink_to(temporary / "kept")
    os.utime(link, (1, 1), follow_symlinks=False)
    with run_folder():
        assert (temporary / "kept" / "file").exists()
