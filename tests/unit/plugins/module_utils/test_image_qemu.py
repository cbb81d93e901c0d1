# SPDX-License-Identifier: GPL-3.0-or-later
"""qemu-img's second opinion, with the real qemu-img."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import image_qemu
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, ImageFailure, ImageRefused
from ansible_collections.berth.kvm.plugins.module_utils.image_format import ImageFacts

QEMU_IMG = shutil.which("qemu-img")
pytestmark = pytest.mark.skipif(QEMU_IMG is None, reason="needs qemu-img")
MIB = 1024**2


def make(path: Path, *options: str) -> str:
    command = [str(QEMU_IMG), "create", "-q", "-f", "qcow2", *options, str(path), "64M"]
    subprocess.run(command, check=True, timeout=60)
    return str(path)


def facts(**changes: Any) -> ImageFacts:
    return ImageFacts(**{"format": "qcow2", "virtual_size_bytes": 64 * MIB, "size_bytes": 1, **changes})


def test_it_agrees(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    before = Path(path).read_bytes()
    image_qemu.verify(path, facts())
    assert Path(path).read_bytes() == before


def test_raw_has_nothing_to_check(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(bytes(1000))
    image_qemu.verify(str(tmp_path / "r"), facts(format="raw", virtual_size_bytes=1024))


def test_another_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageRefused, match="virtual size: qemu-img says 67108864, the header 1048576") as caught:
        image_qemu.verify(make(tmp_path / "a"), facts(virtual_size_bytes=MIB))
    assert caught.value.reason == "qemu_disagrees"


def test_what_slipped_through_our_parser_is_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a", "-o", f"data_file={tmp_path}/data")
    with pytest.raises(ImageRefused, match="data file"):
        image_qemu.verify(path, facts())
    path = make(tmp_path / "b", "-F", "qcow2", "-b", make(tmp_path / "base"))
    with pytest.raises(ImageRefused, match="backing file"):
        image_qemu.verify(path, facts())


def test_leaked_clusters_are_no_damage(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    with Path(path).open("r+b") as file:
        # The refcount of a fifth cluster, which nothing uses.
        file.truncate(5 * 0x10000)
        file.seek(0x20000 + 2 * 4)
        file.write(b"\0\1")
    assert subprocess.run([str(QEMU_IMG), "check", path], capture_output=True).returncode == 3
    image_qemu.verify(path, facts())


def test_a_program_that_needs_too_much_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = tmp_path / "qemu-img"
    greedy.write_text("#!/bin/sh\nwhile :; do :; done\n")
    greedy.chmod(0o755)
    monkeypatch.setattr(image_qemu, "SEARCH_PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(image_qemu, "CPU_S", 1)
    with pytest.raises(ImageRefused, match="ended by signal") as caught:
        image_qemu.verify(str(tmp_path / "a"), facts())
    assert caught.value.reason == "qemu_limit"
    greedy.write_text("#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr(image_qemu, "WALL_S", 0.3)
    with pytest.raises(ImageRefused, match="took more than"):
        image_qemu.verify(str(tmp_path / "a"), facts())


def test_a_host_without_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_qemu, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(ImageFailure, match="prepare the host") as caught:
        image_qemu.verify(str(tmp_path / "a"), facts())
    assert (caught.value.kind, caught.value.reason) == (HOST, "no_qemu_img")
