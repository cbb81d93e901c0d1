# SPDX-License-Identifier: GPL-3.0-or-later
"""Real locks between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import locks

HOLDER = """
import sys, time
from ansible_collections.berth.kvm.plugins.module_utils import locks
with locks.held(sys.argv[1], directories=[sys.argv[2]], timeout_s=5):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(name: str, directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, name, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_process_is_told_the_pid_of_the_holder(tmp_path: Path) -> None:
    holder = start_holder("guest-a", tmp_path)
    try:
        with pytest.raises(locks.LockTimeout) as caught:
            with locks.held("guest-a", directories=[str(tmp_path)], timeout_s=0.2):
                pytest.fail("two holders of one lock")
        assert caught.value.holder_pid == holder.pid
        assert str(holder.pid) in str(caught.value)
    finally:
        stop(holder)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    stop(start_holder("guest-a", tmp_path))
    with locks.held("guest-a", directories=[str(tmp_path)], timeout_s=1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_another_name_does_not_wait(tmp_path: Path) -> None:
    with locks.held("a", directories=[str(tmp_path)], timeout_s=0):
        with locks.held("b", directories=[str(tmp_path)], timeout_s=0):
            assert sorted(file.name for file in tmp_path.iterdir()) == ["a.lock", "b.lock"]


def test_one_holder_at_a_time_while_files_come_and_go(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with locks.held("x", directories=[str(tmp_path)], timeout_s=30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a\n", "-x", "a" * 300])
def test_names_that_are_no_plain_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(locks.LockError, match="allowed are"):
        with locks.held(name, directories=[str(tmp_path)], timeout_s=0):
            pytest.fail("held")


def test_the_next_directory_serves_when_the_first_cannot(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    second = tmp_path / "instances" / ".locks"
    with locks.held("x", directories=[str(blocked / "berth"), str(second)], timeout_s=0) as path:
        assert Path(path).parent == second
    assert second.stat().st_mode & 0o777 == 0o700


def test_no_directory_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(locks.LockError, match=r"file/berth: .*"):
        with locks.held("x", directories=[str(blocked / "berth")], timeout_s=0):
            pytest.fail("held")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a folder of another user")
def test_root_refuses_a_folder_that_somebody_else_made(tmp_path: Path) -> None:
    theirs = tmp_path / "berth"
    theirs.mkdir()
    os.chown(theirs, 1234, 1234)
    with pytest.raises(locks.LockError, match="found uid 1234"):
        with locks.held("x", directories=[str(theirs), str(tmp_path / "next")], timeout_s=0):
            pytest.fail("held")


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("content")
    (tmp_path / "x.lock").symlink_to(target)
    with pytest.raises(locks.LockError, match="symbolic link"):
        with locks.held("x", directories=[str(tmp_path)], timeout_s=0):
            pytest.fail("held")
    assert target.read_text() == "content"
