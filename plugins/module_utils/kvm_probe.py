# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether KVM really runs a guest on this host: proved by starting one, remembered until the next boot.

/dev/kvm alone proves nothing. Inside some virtual machines it is there, firmware boots on it, and yet it interprets
every instruction: an ordinary kernel would need hours. So the probe's guest has to enter long mode, take timer
interrupts and then compute at the speed of a processor, not of an interpreter.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from typing import Any, Dict, NamedTuple, Optional, Tuple

DEVICE = "/dev/kvm"
TIMEOUT_S = 10.0
# How long a killed QEMU may take to end. One that hangs in the kernel is left to the kernel.
KILL_TIMEOUT_S = 2.0
# How long it counts that not even the firmware came to an end: a busy host may be why, but each try takes TIMEOUT_S.
STUCK_COUNTS_S = 3600.0
POLL_S = 0.02
EVERYBODYS = "/tmp"  # noqa: S108 (root's own TMPDIR may be closed to QEMU's user; the folder made in it has mode 0700)
ARCHITECTURES = ("x86_64",)

# A boot sector, assembled from tests/unit/plugins/module_utils/kvm_probe.S (a test compares the two). On the first
# serial port it writes B when the firmware has started it, L in 64-bit long mode with paging, T after ten timer
# interrupts (PIT through PIC, 1 ms each), R after 2^27 turns of a loop of two instructions: 0.1 s on a processor, more
# than a minute in KVM's instruction emulator. Sources: Intel SDM volume 3, sections 4.5 (4-level paging), 6.14
# (64-bit interrupt gates) and 10.8.5 (initialising IA-32e mode).
_CODE = bytes.fromhex(
    "ea057c0000fafc31c08ed88ec08ed0bc007cbaf803b042eebf00106631c0b9001066f3abc70600100320c70600200330c706"
    "00308300c7060042d67cc70602420800c7060442008eb011e620b020e621b004e621b001e621b0fee621b0ffe6a1b034e643"
    "b0a9e640b004e6400f0116f87c0f011efe7c66b8200000000f22e066b8001000000f22d866b9800000c00f32660fbae8080f"
    "300f20c0660d010000800f22c0eaa87c080066b810008ed0bc007c000066baf803b04cee31dbfbf483fb0a72fafab054eeb9"
    "00000008ffc975fcb052eef4ebfd50ffc3b020e6205848cf000000000000000000000000009a200000000000009200001700"
    "e07c00000f020040"
)
BOOT_SECTOR = _CODE.ljust(510, b"\0") + b"\x55\xaa"
DISK_BYTES = 1024 * 1024  # SeaBIOS does not boot a disk that is smaller than a cylinder
STAGES = (
    ("", "its firmware did not come to an end"),
    ("B", "it did not reach 64-bit mode"),
    ("BL", "its timer did not interrupt it"),
    ("BLT", "it computed slower than any processor: KVM interprets its instructions one by one"),
)
DONE = "BLTR"


class Emulator(NamedTuple):
    """What libvirt says of this host: QEMU's path and version, the machine to use, whether kvm is listed.

    `ids` are user and group that libvirt runs guests as, None when it runs them as itself.
    """

    path: str
    version: Optional[int]
    machine: str
    architecture: str
    kvm_listed: bool
    ids: Optional[Tuple[int, int]] = None


class Finding(NamedTuple):
    """What is known of KVM here. `works` is None when it was not tried.

    `counts_s` is how long the answer counts: None until the next boot, kernel or QEMU, 0 this once.
    """

    device: bool
    works: Optional[bool]
    reason: str
    counts_s: Optional[float] = None


def virtualization(emulator: Emulator, mode: str, memory_path: Optional[str], boot_id: Optional[str]) -> Dict[str, Any]:
    """Returns the part `virtualization` of the facts.

    `mode`: auto uses the remembered answer, force starts the guest again, skip takes KVM as working where libvirt
    lists it. `memory_path` is the file to remember in, None to keep nothing. Takes at most about 12 s, with a
    remembered answer no time at all.
    """
    kernel = os.uname().release
    key = "{0}|{1}|{2}".format(boot_id, kernel, emulator.version)
    finding = _without_guest(emulator, mode)
    if finding is None and mode == "auto" and memory_path:
        finding = recall(memory_path, key)
    if finding is None:
        finding = run_guest(emulator)
        if memory_path:
            remember(memory_path, key, finding)
    works = finding.works or (finding.works is None and mode == "skip" and finding.device and emulator.kvm_listed)
    return {
        "domain_type": "kvm" if works else "qemu",
        "kvm_device": finding.device,
        "kvm_works": finding.works,
        "reason": finding.reason,
        "probe_key": key,
    }


def _without_guest(emulator: Emulator, mode: str) -> Optional[Finding]:
    """Returns the answer where it is known without starting a guest, else None."""
    device = os.path.exists(DEVICE)
    if not device:
        return Finding(False, False, "{0} does not exist: hardware virtualisation is off or hidden".format(DEVICE))
    if not emulator.kvm_listed:
        reason = "libvirt does not offer kvm although {0} exists".format(DEVICE)
        return Finding(device, False, reason)
    if mode == "skip":
        return Finding(device, None, "not probed: taken as working because libvirt offers kvm")
    if emulator.architecture not in ARCHITECTURES:
        return Finding(
            device,
            None,
            "not probed: there is no probe for {0}; probe_kvm=skip takes KVM as working".format(emulator.architecture),
        )
    return None


def run_guest(emulator: Emulator, accelerator: str = "kvm") -> Finding:
    """Returns whether the probe's guest ran. Leaves nothing behind: QEMU is killed, its folder removed."""
    user = _User(emulator.ids) if os.geteuid() == 0 and emulator.ids else None
    folder = tempfile.mkdtemp(prefix="berth-kvm-probe-", dir=EVERYBODYS if user else None)
    try:
        disk = os.path.join(folder, "disk")
        with open(disk, "wb") as image:
            image.write(BOOT_SECTOR)
            image.truncate(DISK_BYTES)
        if user:
            os.chown(folder, *user.ids)
        serial = os.path.join(folder, "serial")
        with open(os.path.join(folder, "errors"), "w+b") as errors:
            process = subprocess.Popen(  # noqa: S603 (no shell, nothing of a user in it)
                _argv(emulator, accelerator, disk, serial),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=user.become if user else None,
            )
            return _watch(process, serial, errors.name)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(True, False, "the probe could not start {0}: {1}".format(emulator.path, error), 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _User:
    """Who guests run as: whether that user may open /dev/kvm is part of the question."""

    def __init__(self, ids: Tuple[int, int]) -> None:
        self.ids = ids
        try:
            self.groups = os.getgrouplist(pwd.getpwuid(ids[0]).pw_name, ids[1])
        except KeyError:
            self.groups = [ids[1]]

    def become(self) -> None:
        """Gives up root; runs between fork and exec."""
        os.setgroups(self.groups)
        os.setgid(self.ids[1])
        os.setuid(self.ids[0])


def _watch(process: Any, serial: str, errors: str) -> Finding:
    begin = time.monotonic()
    try:
        while True:
            ended = process.poll() is not None
            written = _read(serial)
            if written == DONE:
                return Finding(True, True, "a guest ran on KVM in {0:.1f} s".format(time.monotonic() - begin))
            if ended:
                said = "QEMU ended with code {0}: {1}".format(process.returncode, _said(errors))
                return Finding(True, False, said, 0)
            if time.monotonic() - begin > TIMEOUT_S:
                return Finding(True, False, _hung(written), None if written else STUCK_COUNTS_S)
            time.sleep(POLL_S)
    finally:
        process.kill()
        try:
            process.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass


def _argv(emulator: Emulator, accelerator: str, disk: str, serial: str) -> Tuple[str, ...]:
    return (
        emulator.path,
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-machine", "{0},accel={1}".format(emulator.machine, accelerator),
        "-cpu", "host" if accelerator == "kvm" else "max",
        "-m", "16",
        "-drive", "if=none,id=disk,format=raw,readonly=on,file={0}".format(disk.replace(",", ",,")),
        "-device", "virtio-blk-pci,drive=disk",
        "-chardev", "file,id=serial,path={0}".format(serial.replace(",", ",,")),
        "-device", "isa-serial,chardev=serial",
    )  # fmt: skip


def _hung(written: str) -> str:
    stuck = dict(STAGES).get(written, "it wrote {0!r} on its serial port".format(written))
    return "a guest started on KVM but did not run within {0:.0f} s: {1}".format(TIMEOUT_S, stuck)


def _read(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read(64).decode("ascii", "replace")
    except OSError:
        return ""


def _said(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            lines = stream.read(4096).decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return " / ".join(lines) or "no message"


def recall(path: str, key: str) -> Optional[Finding]:
    """Returns the remembered answer, or None when there is none that counts for this boot, kernel and QEMU."""
    try:
        with open(path, encoding="utf-8") as stream:
            kept = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("probe_key") != key or not isinstance(kept.get("kvm_works"), bool):
        return None
    # Without `until` it may be from a version that remembered failures of the moment as well.
    until = kept.get("until", None if kept["kvm_works"] else 0)
    if until is not None and not (type(until) in (int, float) and 0 <= until - time.time() <= STUCK_COUNTS_S):
        return None
    return Finding(True, kept["kvm_works"], str(kept.get("reason", "")))


def remember(path: str, key: str, finding: Finding) -> None:
    """Keeps an answer that counts in `path`, atomically. Where that cannot be written the next call probes again."""
    if finding.counts_s == 0:
        return
    until = None if finding.counts_s is None else time.time() + finding.counts_s
    kept = {"probe_key": key, "kvm_works": finding.works, "reason": finding.reason, "until": until}
    temporary = "{0}.{1}".format(path, os.getpid())
    try:
        os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(kept, stream)
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
