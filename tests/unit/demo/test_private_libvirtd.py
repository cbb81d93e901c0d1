# SPDX-License-Identifier: GPL-3.0-or-later
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import libvirt
import pytest

LAUNCHER = Path(__file__).parents[3] / "demo" / "private_libvirtd.py"
HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from private_libvirtd import private_libvirtd
with private_libvirtd(Path(sys.argv[2])) as uri:
    print(uri, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(private_libvirtd):
    # The fixture says whether one can run here at all.
    path = Path(tempfile.mkdtemp(prefix="berth-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def processes_of(folder):
    """Returns the command lines of all processes of this machine that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command and process.name != str(os.getpid()):
            found.append(command)
    return found


def mounts():
    return Path("/proc/self/mounts").read_text(encoding="utf-8")


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(LAUNCHER.parent), str(folder)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def gone(folder):
    deadline = time.monotonic() + 15
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return processes_of(folder) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_it_ends_with_whoever_started_it(folder, end):
    before = mounts()
    process, uri = hold(folder)
    connection = libvirt.open(uri)
    assert connection.listAllDomains(0) == []
    connection.close()
    process.send_signal(end)
    process.wait(timeout=15)
    process.stdout.close()
    assert gone(folder)
    assert mounts() == before


def test_it_neither_sees_nor_changes_a_libvirt_of_the_machine(folder):
    def listing():
        return {str(path): path.stat().st_mtime_ns for path in Path("/etc/libvirt").rglob("*")}

    before = listing()
    process, uri = hold(folder)
    connection = libvirt.open(uri)
    connection.defineXML("<domain type='qemu'><name>a</name><memory>16384</memory><os><type>hvm</type></os></domain>")
    connection.close()
    process.kill()
    process.wait(timeout=15)
    process.stdout.close()
    assert listing() == before
    assert (folder / "etc/qemu/a.xml").exists()
    assert gone(folder)


def test_a_folder_that_qemu_cannot_reach_is_told(folder, private_libvirtd):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PermissionError, match=str(closed)):
        type(private_libvirtd)(closed / "libvirt").start()


def test_a_folder_whose_name_is_too_long_is_told(folder, private_libvirtd):
    long = folder / ("x" * 90)
    long.mkdir(mode=0o711)
    with pytest.raises(OSError, match="107 bytes"):
        type(private_libvirtd)(long).start()
