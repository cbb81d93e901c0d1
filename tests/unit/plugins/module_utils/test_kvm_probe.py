# SPDX-License-Identifier: GPL-3.0-or-later
"""The KVM probe: its guest really runs, a guest that does not is noticed and killed, the answer is remembered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import kvm_probe
from ansible_collections.berth.kvm.plugins.module_utils.kvm_probe import Emulator, Finding

QEMU = shutil.which("qemu-system-x86_64")
HERE = Path(__file__).parent
needs_qemu = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86_64")


def emulator(path: str | None = QEMU, *, machine: str = "q35", kvm: bool = True, arch: str = "x86_64") -> Emulator:
    return Emulator(path or "", 7002022, machine, arch, kvm)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder in which the probe makes its own: it must be empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Gives the folder of the probe when it runs as another user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    monkeypatch.setattr(kvm_probe, "EVERYBODYS", str(folder))
    yield folder
    folder.rmdir()


def qemu_processes(folder: Path) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command and b"qemu" in command:
            found.append(command.decode())
    return found


@pytest.mark.skipif(shutil.which("as") is None or shutil.which("ld") is None, reason="needs binutils")
def test_the_boot_sector_is_the_assembled_source(tmp_path: Path) -> None:
    subprocess.run(["as", "--64", "-o", tmp_path / "o", HERE / "kvm_probe.S"], check=True)
    link = ["ld", "-m", "elf_x86_64", "--oformat", "binary", "-Ttext", "0x7c00", "-o", tmp_path / "bin", tmp_path / "o"]
    subprocess.run(link, check=True)
    assert (tmp_path / "bin").read_bytes() == kvm_probe.BOOT_SECTOR


@needs_qemu
@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_its_guest_runs_to_the_end(scratch: Path, machine: str) -> None:
    finding = kvm_probe.run_guest(emulator(machine=machine), accelerator="tcg")
    assert finding.works is True
    assert list(scratch.iterdir()) == [] and qemu_processes(scratch) == []


@needs_qemu
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_the_user_of_the_guests(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "status"
    watch = kvm_probe._watch

    def look(process: subprocess.Popen[bytes], serial: str, errors: str) -> Finding:
        seen.write_text(Path(f"/proc/{process.pid}/status").read_text())
        return watch(process, serial, errors)

    monkeypatch.setattr(kvm_probe, "_watch", look)
    nobody = emulator()._replace(ids=(65534, 65534))
    assert kvm_probe.run_guest(nobody, accelerator="tcg").works is True
    assert "Uid:\t65534\t65534\t65534\t65534" in seen.read_text() and "Groups:\t65534" in seen.read_text()
    assert list(shared.iterdir()) == [] and qemu_processes(shared) == []


@needs_qemu
@pytest.mark.parametrize(
    ("code", "stage", "counts_s"),
    [
        pytest.param(b"\xfa\xf4\xeb\xfd", "firmware", kvm_probe.STUCK_COUNTS_S, id="halts-at-once"),
        pytest.param(kvm_probe.BOOT_SECTOR[:0x19] + b"\xfa\xf4\xeb\xfd", "64-bit mode", None, id="halts-after-B"),
    ],
)
def test_a_guest_that_stops_is_noticed_and_killed(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, code: bytes, stage: str, counts_s: float | None
) -> None:
    monkeypatch.setattr(kvm_probe, "BOOT_SECTOR", code.ljust(510, b"\0") + b"\x55\xaa")
    monkeypatch.setattr(kvm_probe, "TIMEOUT_S", 2.0)
    finding = kvm_probe.run_guest(emulator(), accelerator="tcg")
    assert finding.works is False and stage in finding.reason and finding.counts_s == counts_s
    assert list(scratch.iterdir()) == [] and qemu_processes(scratch) == []


@needs_qemu
@pytest.mark.skipif(not os.access(kvm_probe.DEVICE, os.R_OK | os.W_OK), reason=f"no {kvm_probe.DEVICE} here")
def test_the_answer_about_this_machine_is_bounded_and_leaves_nothing(scratch: Path) -> None:
    finding = kvm_probe.run_guest(emulator())
    assert finding.works is not None and finding.reason
    assert list(scratch.iterdir()) == [] and qemu_processes(scratch) == []


@needs_qemu
def test_qemu_that_ends_is_quoted() -> None:
    finding = kvm_probe.run_guest(emulator(machine="no-such-machine"), accelerator="tcg")
    assert finding.works is False and "unsupported machine type" in finding.reason and finding.counts_s == 0


def test_qemu_that_is_missing_is_named() -> None:
    finding = kvm_probe.run_guest(emulator("/nowhere/qemu"))
    assert finding.works is False and "/nowhere/qemu" in finding.reason and finding.counts_s == 0


class Counted:
    def __init__(self, works: bool) -> None:
        self.works = works
        self.calls = 0

    def __call__(self, _emulator: Emulator) -> Finding:
        self.calls += 1
        return Finding(True, self.works, "as told")


@pytest.mark.parametrize("works", [True, False])
def test_a_second_look_is_free_until_the_next_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    guest = Counted(works)
    monkeypatch.setattr(kvm_probe, "run_guest", guest)
    monkeypatch.setattr(kvm_probe, "DEVICE", str(tmp_path))
    memory = str(tmp_path / "state" / "probe.json")
    first = kvm_probe.virtualization(emulator(), "auto", memory, "boot-1")
    assert first["kvm_works"] is works and first["domain_type"] == ("kvm" if works else "qemu")
    assert kvm_probe.virtualization(emulator(), "auto", memory, "boot-1") == first
    assert guest.calls == 1
    kvm_probe.virtualization(emulator(), "force", memory, "boot-1")
    assert guest.calls == 2
    kvm_probe.virtualization(emulator(), "auto", memory, "boot-2")
    assert guest.calls == 3
    kvm_probe.virtualization(emulator(), "auto", None, "boot-2")
    assert guest.calls == 4


def test_a_probe_that_did_not_start_is_tried_again_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm_probe, "DEVICE", str(tmp_path))
    memory = str(tmp_path / "probe.json")

    def look(finding: Finding, mode: str = "auto") -> tuple[bool, str]:
        monkeypatch.setattr(kvm_probe, "run_guest", lambda _emulator: finding)
        found = kvm_probe.virtualization(emulator(), mode, memory, "boot-1")
        return found["kvm_works"], found["reason"]

    busy, works = Finding(True, False, "busy", 0), Finding(True, True, "ran")
    assert look(busy) == (False, "busy") and not Path(memory).exists()
    assert look(works) == (True, "ran")
    assert look(busy, "force") == (False, "busy")
    assert look(busy) == (True, "ran")


def test_a_host_on_which_the_probe_was_stuck_is_probed_again_an_hour_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, now = str(tmp_path / "probe.json"), [1_000_000.0]
    monkeypatch.setattr(kvm_probe.time, "time", lambda: now[0])
    kvm_probe.remember(memory, "k", Finding(True, False, "stuck", kvm_probe.STUCK_COUNTS_S))
    for later_s, remembered in ((0, True), (3599, True), (3601, False), (-60, False)):  # the last: the clock was set
        now[0] = 1_000_000.0 + later_s
        assert (kvm_probe.recall(memory, "k") is not None) is remembered, later_s


@pytest.mark.parametrize("works", [True, False])
def test_of_what_an_older_version_remembered_only_that_it_works_counts(tmp_path: Path, works: bool) -> None:
    memory = tmp_path / "probe.json"
    memory.write_text(json.dumps({"probe_key": "k", "kvm_works": works, "reason": "r"}))
    assert kvm_probe.recall(str(memory), "k") == (Finding(True, True, "r") if works else None)


DAMAGED = '{"probe_key": "k", "kvm_works": true, "until": "soon"}'


@pytest.mark.parametrize(
    "content", ["", "[]", '{"probe_key": "k"}', '{"probe_key": "k", "kvm_works": "yes"}', DAMAGED, "\0"]
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: str) -> None:
    (tmp_path / "probe.json").write_text(content)
    assert kvm_probe.recall(str(tmp_path / "probe.json"), "k") is None


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kvm_probe.remember(str(tmp_path / "file" / "probe.json"), "k", Finding(True, True, ""))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("changes", "mode", "device", "works", "domain_type"),
    [
        pytest.param({}, "auto", False, False, "qemu", id="no-device"),
        pytest.param({"kvm": False}, "auto", True, False, "qemu", id="libvirt-does-not-offer-it"),
        pytest.param({}, "skip", True, None, "kvm", id="skipped"),
        pytest.param({}, "skip", False, False, "qemu", id="skipped-without-device"),
        pytest.param({"arch": "aarch64"}, "auto", True, None, "qemu", id="no-probe-for-it"),
        pytest.param({"arch": "aarch64"}, "skip", True, None, "kvm", id="no-probe-but-skipped"),
    ],
)
def test_no_guest_is_started_where_the_answer_is_known(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    mode: str,
    device: bool,
    works: bool | None,
    domain_type: str,
) -> None:
    monkeypatch.setattr(kvm_probe, "DEVICE", str(tmp_path if device else tmp_path / "missing"))
    monkeypatch.setattr(kvm_probe, "run_guest", lambda _emulator: pytest.fail("a guest was started"))
    found = kvm_probe.virtualization(emulator(**changes), mode, None, "boot")  # type: ignore[arg-type]
    assert (found["kvm_works"], found["domain_type"]) == (works, domain_type)
    assert found["kvm_device"] is device and found["reason"]
