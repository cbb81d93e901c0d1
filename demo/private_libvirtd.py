# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirtd of one's own, for root on a machine where none runs: in a container, in a test, in the demo.

It lives in mount and PID namespaces of its own, with private folders in place of /etc/libvirt, /run/libvirt,
/var/lib/libvirt, /var/log/libvirt and /var/cache/libvirt, so it neither sees nor changes a libvirt of the machine. When
it stops, or when whoever started it dies, the kernel ends everything in it: libvirtd, virtlogd and all guests.

    with private_libvirtd(folder) as uri:
        libvirt.open(uri)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
RESTART = b"restart\n"
COMMANDS = ("unshare", "mount", "libvirtd", "virtlogd")

# Private folder -> where libvirt looks for it.
FOLDERS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
# Without systemd there is often no cgroup tree that can be written; guests then run without limits of their own. And a
# private /dev for each guest cannot be made where /dev/kvm is covered (see _hide_closed_kvm).
QEMU_CONF = "cgroup_controllers = []\nnamespaces = []\n"
# A path in sockaddr_un is at most 107 bytes (unix(7)).
SOCKET_PATH_MAX = 107
KVM = Path("/dev/kvm")
SOCKET = "run/libvirt-sock"
LOG_LINES = 10


@contextlib.contextmanager
def private_libvirtd(folder: Path) -> Iterator[str]:
    """Yields the URI of a libvirtd that runs as long as the body. Raises what PrivateLibvirtd.start does."""
    with PrivateLibvirtd(folder) as daemon:
        yield daemon.uri


class PrivateLibvirtd:
    """Starts on entry, stops on exit. `folder` must be reachable by QEMU's user: 0711 or more, up to the root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / SOCKET
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Returns the connection URI; it works from outside the namespaces too."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def log_path(self) -> Path:
        """Returns the folder of QEMU's logs, one per domain."""
        return self.folder / "log" / "qemu"

    def __enter__(self) -> PrivateLibvirtd:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the daemon answers.

        Raises OSError when the folder cannot serve, RuntimeError when the daemon does not start.
        """
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        closed = [str(path) for path in (self.folder, *self.folder.parents) if not path.stat().st_mode & stat.S_IXOTH]
        if closed:
            raise PermissionError(f"QEMU's user cannot get into {', '.join(closed)}; chmod o+x, or use another folder")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_MAX:
            raise OSError(f"{self.socket}: longer than the {SOCKET_PATH_MAX} bytes of a socket's path")
        (self.folder / "etc" / "qemu.conf").write_text(QEMU_CONF, encoding="utf-8")
        with (self.folder / "daemon.log").open("ab") as log:
            # Killed together: unshare passes its own end on, and the inner process ends with its standard input.
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
                 sys.executable, "-I", str(Path(__file__).resolve()), str(self.folder)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait(self._answers, "it does not answer")

    def restart_daemon(self) -> None:
        """Returns when libvirtd was ended and answers again; guests go on running."""
        before = self._pid()
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the private libvirtd is not running")
        process.stdin.write(RESTART)
        process.stdin.flush()
        self._wait(lambda: self._pid() not in ("", before) and self._answers(), "it does not answer again")

    def stop(self) -> None:
        """Returns when nothing of it runs any more. Its folders stay."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
            return True

    def _pid(self) -> str:
        """Returns libvirtd's process id in its own namespace, '' while it has none."""
        try:
            return (self.folder / "libvirtd.pid").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def _log_end(self) -> str:
        """Returns the last lines of the log: the folder may be gone by the time that somebody reads the error."""
        lines = (self.folder / "daemon.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:]) or "it logged nothing"

    def _wait(self, is_there: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_there():
            ended = self._process.poll() if self._process else None
            if ended is not None or time.monotonic() > deadline:
                self.stop()
                reason = otherwise if ended is None else f"it ended with {ended}"
                raise RuntimeError(f"the private libvirtd in {self.folder} did not start: {reason}\n{self._log_end()}")
            time.sleep(POLL_S)


def why_impossible() -> str:
    """Returns why a private libvirtd cannot run here, '' when it can."""
    if os.geteuid() != 0:
        return "it needs root"
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [command for command in COMMANDS if not shutil.which(command, path=path)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True)
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode(errors='replace').strip()}"


class _Inside:
    """The first process of the PID namespace: starts the daemons, reaps the dead, restarts libvirtd when told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

    def run(self) -> None:
        for name, target in FOLDERS.items():
            Path(target).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", str(self.folder / name), target], check=True)
        self._hide_closed_kvm()
        # libvirt waits for a guest's process to vanish, and a dead one stays until its parent asks: that is us.
        signal.signal(signal.SIGCHLD, _reap)
        virtlogd = self._spawn("virtlogd")
        libvirtd = self._spawn("libvirtd")
        while command := os.read(0, len(RESTART)):
            if command == RESTART:
                libvirtd.terminate()
                libvirtd.wait()
                libvirtd = self._spawn("libvirtd")
        # The kernel kills whatever is left when the first process of the namespace ends; guests get no warning.
        libvirtd.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            libvirtd.wait(STOP_TIMEOUT_S / 2)
        virtlogd.terminate()

    def _hide_closed_kvm(self) -> None:
        """Puts an empty file over a /dev/kvm that only root may open, as it is where no udev runs.

        libvirt probes QEMU with root's rights, then finds that QEMU's user has no KVM, and so throws its cached
        capabilities away before every single use (virQEMUCapsIsValid in libvirt 9.0): 30 s per guest.
        """
        if not KVM.exists() or KVM.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return
        cover = self.folder / "no-kvm"
        cover.touch(mode=0o600)
        subprocess.run(["mount", "--bind", str(cover), str(KVM)], check=True)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        # The default pid file is in /run, which is the machine's.
        pid_file = self.folder / f"{name}.pid"
        return subprocess.Popen([name, "--pid-file", str(pid_file)], stdin=subprocess.DEVNULL)


def _reap(_signal: int, _frame: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    _Inside(Path(sys.argv[1])).run()
