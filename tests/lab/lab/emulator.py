# SPDX-License-Identifier: GPL-3.0-or-later
"""One emulated machine started directly with QEMU, no libvirt: for trying a guest image by itself."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.shell import LabError, run, wait_for

MAC = "52:54:00:77:00:01"
# The addresses of QEMU's user-mode network.
NETWORK = {"mac": MAC, "address": "10.0.2.15", "prefix": 24, "gateway": "10.0.2.2", "dns": ["10.0.2.3"]}


@dataclass(frozen=True)
class Hardware:
    """What the machine is made of."""

    machine: str = "q35"
    nic: str = "virtio-net-pci"
    accel: str = "tcg"
    cpu: str = "qemu64"
    memory_mib: int = 256
    vcpus: int = 1
    seed_bus: str = "scsi"  # scsi or ide


class Machine:
    """A running machine; `booted` makes one."""

    def __init__(self, folder: Path, login: str) -> None:
        self.folder, self.login = folder, login
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> str:
        """What the serial console showed so far."""
        return (self.folder / "console.log").read_text(errors="replace")

    def start(self, image: Path, hardware: Hardware) -> None:
        """Start QEMU; it ends with `process`."""
        self.process = subprocess.Popen(self.argv(image, hardware), stdin=subprocess.DEVNULL)

    def argv(self, image: Path, hardware: Hardware) -> list[str]:
        """Make a throw-away overlay of the image; QEMU's command for it and the seed in the folder.

        Only this machine's loopback interface reaches the machine, and it reaches nothing.
        """
        disk = self.folder / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk, "4G")
        drive = "scsi-cd,drive=seed" if hardware.seed_bus == "scsi" else "ide-cd,drive=seed,bus=ide.1"
        return [
            "qemu-system-x86_64", "-machine", hardware.machine, "-accel", hardware.accel, "-cpu", hardware.cpu,
            "-m", str(hardware.memory_mib), "-smp", str(hardware.vcpus), "-display", "none",
            "-serial", f"file:{self.folder}/console.log",
            "-drive", f"file={disk},if=virtio,format=qcow2",
            "-device", "virtio-scsi-pci", "-device", drive,
            "-drive", f"file={self.folder}/seed.iso,if=none,id=seed,media=cdrom,readonly=on,format=raw",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            "-device", f"{hardware.nic},netdev=net,mac={MAC}",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
            "-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off",
            "-device", "virtio-serial", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]  # fmt: skip

    def ssh(self, command: str, check: bool = True) -> str:
        """Run a command over ssh, trusting only the key in the seed; its output."""
        argv = [
            "ssh", "-F", "none", "-i", self.folder / "user_key", "-p", self.port, "-l", self.login,
            "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "GlobalKnownHostsFile=/dev/null",
            "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            "-o", "ServerAliveInterval=5", "127.0.0.1", command,
        ]  # fmt: skip
        done = run(*argv, check=False, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise LabError(f"{command!r} exit {done.returncode}: {done.stderr.strip()}")
        return str(done.stdout)

    def wait_for_login(self, seconds: float) -> None:
        """Wait until a command over ssh works."""
        if not wait_for(lambda: self.ssh("echo in", check=False) == "in\n", seconds, 0.5):
            raise LabError(f"no login after {seconds:.0f} s; the console's end:\n{self.console[-2000:]}")

    def monitor(self, command: str) -> None:
        """Send one command to QEMU's monitor, such as system_powerdown."""
        with closing(socket.socket(socket.AF_UNIX)) as link:
            link.settimeout(10)
            link.connect(str(self.folder / "qmp"))
            stream = link.makefile("rw")
            stream.readline()
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
                if "return" not in answer:
                    raise LabError(f"{name}: {answer}")

    def agent(self, command: str) -> Any:
        """Ask the guest agent; what it returned."""
        with closing(socket.socket(socket.AF_UNIX)) as link:
            link.settimeout(20)
            link.connect(str(self.folder / "agent"))
            stream = link.makefile("rw")
            stream.write(json.dumps({"execute": command}) + "\n")
            stream.flush()
            return json.loads(stream.readline())["return"]

    def has_stopped(self, seconds: float) -> bool:
        """Does the machine power itself off within this time?"""
        return wait_for(lambda: self.process is not None and self.process.poll() is not None, seconds, 0.2)


def make_keys(folder: Path) -> tuple[str, str]:
    """Make a user's and a machine's key pair in the folder; the user's public and the machine's private half."""
    for name in ("user_key", "host_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", folder / name)
    return (folder / "user_key.pub").read_text().strip(), (folder / "host_key").read_text()


def prepared(folder: Path, seed: Mapping[str, str], login: str) -> Machine:
    """A machine that is not started yet, with its seed; `make_keys` was called on the folder before."""
    files = folder / "seed"
    files.mkdir()
    for name, text in seed.items():
        (files / name).write_text(text)
    run("genisoimage", "-quiet", "-V", "cidata", "-J", "-R", "-o", folder / "seed.iso", files)
    shutil.rmtree(files)
    machine = Machine(folder, login)
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {key}\n")
    return machine


@contextmanager
def booted(folder: Path, image: Path, seed: Mapping[str, str], login: str, hardware: Hardware) -> Iterator[Machine]:
    """A machine that boots the image with the seed's files; `make_keys` was called on the folder before."""
    machine = prepared(folder, seed, login)
    machine.start(image, hardware)
    try:
        yield machine
    finally:
        if machine.process:
            machine.process.kill()
            machine.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
