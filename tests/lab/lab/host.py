# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab host: a Debian system in a container, with its own disk, addresses and cgroup."""

import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from lab import archive, cgroup
from lab.layout import MAX_HOSTS, Layout
from lab.shell import LabError, is_running, run, say, spawn, succeeds, wait_for

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S = 60


class Host:
    """A host of the lab; exists from `create` to `destroy`, running or with its power cut."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.name = layout, name
        self.ip = layout.address(int(name[1:]))
        self.dir = layout.hosts_dir / name
        self.root = self.dir / "root"
        self.machine = layout.machine(name)
        self._pid_file = self.dir / "nspawn.pid"

    def __repr__(self) -> str:
        return f"Host({self.name} {self.ip})"

    @property
    def exists(self) -> bool:
        """Was it created completely?"""
        return (self.dir / "host.json").exists()

    @property
    def record(self) -> dict[str, str]:
        """What it was made of: suite, flavour, rootfs."""
        record: dict[str, str] = json.loads((self.dir / "host.json").read_text())
        return record

    @property
    def suite(self) -> str:
        """Debian suite, such as bookworm."""
        return self.record["suite"]

    # --- life -------------------------------------------------------------------------------------------------------
    def create(self, suite: str, flavour: str, rootfs: Path) -> None:
        """Give the host its disk and identity; the first boot is `power_on`."""
        shutil.rmtree(self.dir, ignore_errors=True)
        for part in ("upper", "scratch", "root"):
            (self.dir / part).mkdir(parents=True)
        self._mount(rootfs)
        self._write_identity(suite)
        record = {"suite": suite, "flavour": flavour, "rootfs": str(rootfs)}
        (self.dir / "host.json").write_text(json.dumps(record) + "\n")

    def start(self) -> None:
        """Boot on the disk it has, without waiting for anything inside. Does nothing when it runs."""
        if self.nspawn_pid():
            return
        self._mount(Path(self.record["rootfs"]))
        link = self.layout.data_link(self.name)
        # Ask for cgroup v2 inside even where this machine runs v1, whose tree would be read-only.
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        pid = spawn([*cgroup.entered(self.machine), *self._nspawn(link)], self.dir / "console.log", environment)
        self._pid_file.write_text(f"{pid}\n")
        joining = ("ip", "link", "set", link, "master", self.layout.bridges[1], "up")
        wait_for(lambda: succeeds(*joining) or not Path(f"/proc/{pid}/exe").exists(), 10)
        if not wait_for(lambda: self.nspawn_pid() is not None, 1) or not succeeds(*joining):
            raise LabError(f"{self.name} did not start, see {self.dir}/console.log")

    def power_on(self) -> None:
        """Boot on the disk it has and wait for a login. Guarantees ssh, or raises LabError."""
        self.start()
        self.wait_for_login()

    def power_cut(self) -> None:
        """Every process in the host dies at once, its guests included; the disk keeps what was written.

        Nobody is told: the kernel would close the host's connections for it, so its links go first.
        """
        nspawn, init = self.nspawn_pid(), self.leader()
        if nspawn:
            if init:
                succeeds("nsenter", "-t", str(init), "-n", "ip", "link", "set", "host0", "down")
                succeeds("nsenter", "-t", str(init), "-n", "ip", "link", "set", "data0", "down")
            os.kill(init or nspawn, signal.SIGKILL)
            if not wait_for(lambda: not self.nspawn_pid(), 15):
                raise LabError(f"{self.name} did not die within 15 s (process {nspawn})")
        self._forget_container()
        cgroup.remove(self.machine)
        succeeds("ip", "link", "del", self.layout.data_link(self.name))
        self._pid_file.unlink(missing_ok=True)

    def unplug(self) -> None:
        """Nothing reaches the host over the management network any more; it and its guests go on and notice nothing."""
        run("ip", "link", "set", f"vb-{self.machine}", "nomaster")

    def plug_in(self) -> None:
        """The management network is back."""
        run("ip", "link", "set", f"vb-{self.machine}", "master", self.layout.bridges[0])

    def destroy(self) -> None:
        """Cut the power and delete the disk."""
        self.power_cut()
        if self.root.is_mount():
            run("umount", self.root)
        shutil.rmtree(self.dir)

    # --- commands ---------------------------------------------------------------------------------------------------
    def ssh_argv(self) -> list[str]:
        """The ssh command to this host; append options or a command."""
        return ["ssh", "-F", str(self.layout.ssh_config), self.name]

    def ssh(self, command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command over ssh as root; output captured as text. check: raise LabError when it fails."""
        argv = [*self.ssh_argv(), "--", command]
        return self._captured(argv, command, check, timeout)

    def exec(self, command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside without ssh or network; output captured as text."""
        return self._captured([*self.enter_argv(), "sh", "-c", command], command, check, timeout)

    def enter_argv(self) -> list[str]:
        """A command prefix that runs what follows inside the host. Raises LabError when it is off."""
        pid = self.leader()
        if pid is None:
            raise LabError(f"{self.name} is not running: lab.py power-on {self.name}")
        inside = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
        return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "--", *inside]

    def wait_for_login(self, seconds: float = BOOT_S) -> None:
        """Wait until a command over ssh works."""
        probe = ["ssh", "-F", self.layout.ssh_config, "-o", "ConnectTimeout=2", self.name, "true"]
        if not wait_for(lambda: succeeds(*probe), seconds, 0.2):
            raise LabError(f"{self.name}: no ssh after {seconds:.0f} s, see {self.dir}/console.log")

    def nspawn_pid(self) -> int | None:
        """Process id of the host's container, or None when the host is off."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if is_running(pid, f"--machine={self.machine}") else None

    def leader(self) -> int | None:
        """Process id, on this machine, of the host's init."""
        nspawn = self.nspawn_pid()
        if nspawn is None:
            return None
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                before, _, after = stat.read_text().rpartition(")")
            except OSError:
                continue
            # Until the container's init exists, the child is nspawn's own stub.
            if int(after.split()[1]) == nspawn and before.endswith("(systemd"):
                return int(stat.parent.name)
        return None

    # --- inside -----------------------------------------------------------------------------------------------------
    def _captured(self, argv: list[str], command: str, check: bool, timeout: float) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                argv, check=False, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: {command!r} did not end within {timeout:.0f} s") from error
        if check and done.returncode:
            raise LabError(f"{self.name}: {command!r} exit {done.returncode}: {done.stderr.strip() or done.stdout}")
        return done

    def _mount(self, rootfs: Path) -> None:
        if not self.root.is_mount():
            options = f"lowerdir={rootfs},upperdir={self.dir}/upper,workdir={self.dir}/scratch"
            run("mount", "-t", "overlay", "overlay", "-o", options, self.root)

    def _write_identity(self, suite: str) -> None:
        layout, etc = self.layout, self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
        names = "".join(f"{layout.address(i)} h{i}\n" for i in range(1, MAX_HOSTS + 1))
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{names}")
        (etc / "apt/sources.list").write_text(
            "\n".join(archive.of_this_machine("Debian").served_at(layout.archive_url).sources(suite)) + "\n"
        )
        (etc / "systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.ip}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )
        ssh = self.root / "root/.ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(layout.key.with_suffix(".pub"), ssh / "authorized_keys")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", etc / "ssh/ssh_host_ed25519_key")

    def _nspawn(self, link: str) -> list[str]:
        argv = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
            f"--directory={self.root}", f"--machine={self.machine}", f"--hostname={self.name}",
            "--capability=all", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            "--bind=/dev/net/tun", f"--bind={self.layout.shared}:/srv/shared",
            f"--network-bridge={self.layout.bridges[0]}", f"--network-veth-extra={link}:data0",
        ]  # fmt: skip
        if os.environ.get("LAB_KVM") == "1":
            argv.append("--bind=/dev/kvm")
        return argv

    def _forget_container(self) -> None:
        """A killed nspawn leaves its (empty) bookkeeping behind."""
        base = Path("/run/systemd/nspawn")
        for folder in (base / "propagate" / self.machine, base / "unix-export" / self.machine):
            if folder.is_dir():
                succeeds("umount", "-q", folder)
                folder.rmdir()
        for lock in (base / "locks").glob(f"*{self.machine}"):
            lock.unlink()


def existing(layout: Layout) -> list[Host]:
    """Every host of the lab, in order of its number, also one left half made."""
    names = [folder.name for folder in layout.hosts_dir.glob("h[0-9]*")]
    return [Host(layout, name) for name in sorted(names, key=lambda name: int(name[1:]))]


def named(layout: Layout, name: str) -> Host:
    """The host of that name. Raises LabError listing the hosts there are."""
    hosts = [host for host in existing(layout) if host.exists]
    for host in hosts:
        if host.name == name:
            return host
    have = ", ".join(host.name for host in hosts) or "none: lab.py up N"
    raise LabError(f"no host {name} in lab {layout.name}; hosts: {have}")


def report(hosts: list[Host]) -> None:
    """Say which hosts are up."""
    say(", ".join(f"{host.name}={host.ip} ({host.suite})" for host in hosts))
