# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

from ansible_collections.berth.kvm.plugins.module_utils.host_files import files

ONE, TWO = (f"4b1d0000-0000-4000-8000-00000000000{number}" for number in (1, 2))
IMAGE = f"sha256-{'0' * 64}.qcow2"


def test_only_what_may_be_ours_is_listed(tmp_path: Path) -> None:
    instances = [f"i/{ONE}/disk.qcow2", f"i/{ONE}/seed.iso.part", f"i/{ONE}/mine.txt", "i/notes/x", f"i/{TWO}.txt"]
    consoles = [f"c/{TWO}.log", f"c/{TWO}.log.0", "c/other.log"]
    for name in (*instances, *consoles, f"m/{IMAGE}", f"m/.{IMAGE}.part", "m/mine.qcow2"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "i" / TWO).mkdir()
    assert files(str(tmp_path / "i"), str(tmp_path / "c"), str(tmp_path / "m")) == {
        "instances": [
            {"uuid": ONE, "own": ["disk.qcow2", "seed.iso.part"], "other": ["mine.txt"]},
            {"uuid": TWO, "own": [], "other": []},
        ],
        "consoles": [TWO],
        "images": [IMAGE],
    }
    assert files("/none", "/none", "/none") == {"instances": [], "consoles": [], "images": []}
