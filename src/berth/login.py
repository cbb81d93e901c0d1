# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs in to guests with the ssh client: the host key is known beforehand, an unknown one is never accepted."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from berth import hangup
from berth.access import Route, ssh_options
from berth.errors import BerthError, HostFailed

RETRY_PAUSE_S = 1.0
ATTEMPT_TIMEOUT_S = 30.0
SHORTEST_ATTEMPT_S = 1.0
# ssh costs a process on the controller, and one more for a jump.
PARALLEL_ATTEMPTS = 8


@dataclass(frozen=True)
class Login:
    """How waiting for one guest ended. `error` is ssh's last word, empty after a login; `waited_s` seconds."""

    name: str
    error: str
    waited_s: float


@dataclass(frozen=True)
class Keyring:
    """Where the guests' host keys are kept for ssh, and the private key to log in with (None: ssh's own choice)."""

    folder: Path
    identity: Path | None = None

    @classmethod
    def of(cls, cloud_path: Path, identity: Path | None = None) -> Keyring:
        """Returns the keyring of the cloud in that folder."""
        return cls(cloud_path / "runs" / "known_hosts", identity)

    def known_hosts(self, route: Route) -> Path:
        """Returns the file that holds this guest's host key and no other, written anew when it differs.

        One file per guest, replaced in one step: runs beside each other never see half of one.
        """
        path = self.folder / route.uuid
        if path.is_file() and path.read_text(encoding="utf-8") == route.known_hosts_line:
            return path
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as stream:
            stream.write(route.known_hosts_line)
        Path(stream.name).replace(path)
        return path

    def keep_only(self, uuids: Iterable[str]) -> None:
        """Removes the files of guests that are gone."""
        kept = set(uuids)
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            if path.name not in kept:
                path.unlink(missing_ok=True)


def ssh_argv(route: Route, keyring: Keyring, command: Sequence[str] = (), *, batch: bool = False) -> list[str]:
    """Returns the ssh command line that runs `command` in the guest, or a shell without one.

    As with ssh itself the guest's shell reads the words of `command` joined by spaces.
    """
    options = ssh_options(route, keyring.known_hosts(route), batch=batch, launcher=hangup.launcher())
    argv = ["ssh", *options, "-p", str(route.port)]
    if keyring.identity:
        # Without IdentitiesOnly an agent full of keys uses up the attempts that sshd allows.
        argv += ["-o", "IdentitiesOnly=yes", "-i", str(keyring.identity)]
    return [*argv, "-l", route.user, "--", route.host, *command]


def wait_for_logins(
    routes: Sequence[Route],
    keyring: Keyring,
    *,
    timeout_s: float,
    on_login: Callable[[Login], None] | None = None,
) -> list[Login]:
    """Returns how waiting ended for each guest, in order; all have the same deadline, `timeout_s` from now.

    Done is a guest in which a command has run: an open port is not yet a login. `on_login` is called once per guest,
    from any thread, as soon as it is known.
    """
    patience = _Patience(time.monotonic() + timeout_s)

    def wait(route: Route) -> Login:
        login = patience.wait(route.name, ssh_argv(route, keyring, ["true"], batch=True))
        if on_login:
            on_login(login)
        return login

    with ThreadPoolExecutor(max_workers=max(len(routes), 1)) as pool:
        try:
            return list(pool.map(wait, routes))
        finally:
            patience.end.set()  # after Ctrl-C nobody waits any longer


def wait_for_login(route: Route, keyring: Keyring, *, timeout_s: float) -> Login:
    """Returns once a command has run in the guest. Raises HostFailed when none has within `timeout_s`."""
    (login,) = wait_for_logins([route], keyring, timeout_s=timeout_s)
    raise_for_missing([login], timeout_s)
    return login


def raise_for_missing(logins: Sequence[Login], timeout_s: float) -> None:
    """Raises HostFailed that names every guest without a login, each with ssh's last word."""
    missing = [login for login in logins if login.error]
    if not missing:
        return
    names = ", ".join(login.name for login in missing)
    one = missing[0]
    raise HostFailed(
        f"no login to {names} within {timeout_s:g} s" + (f": {one.error}" if len(missing) == 1 else ""),
        details=tuple(f"{login.name}: {login.error}" for login in missing) if len(missing) > 1 else (),
        hint=f"see what it wrote while it booted: `berth log {one.name}`",
        data={"missing": [login.name for login in missing]},
    )


class _Patience:
    """What all who wait share: one deadline, and how many may try at the same time."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.turns = threading.Semaphore(PARALLEL_ATTEMPTS)
        self.end = threading.Event()

    def wait(self, name: str, argv: list[str]) -> Login:
        """Tries until a login, the deadline or the end."""
        begin = time.monotonic()
        while True:
            with self.turns:
                error = _attempt(argv, min(ATTEMPT_TIMEOUT_S, max(self._left_s(), SHORTEST_ATTEMPT_S)))
            # An attempt without the time to succeed would only hide what the one before it said.
            if not error or self._left_s() < RETRY_PAUSE_S + SHORTEST_ATTEMPT_S or self.end.wait(RETRY_PAUSE_S):
                return Login(name, error, time.monotonic() - begin)

    def _left_s(self) -> float:
        return self.deadline - time.monotonic()


def _attempt(argv: list[str], timeout_s: float) -> str:
    """Returns an empty text after a login, else why there was none."""
    quiet = [argv[0], "-o", "LogLevel=ERROR", *argv[1:]]
    try:
        done = subprocess.run(  # noqa: S603 (no shell; every word is one argument)
            quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return f"ssh did not get an answer within {timeout_s:.0f} s"
    except OSError as error:
        raise BerthError(f"ssh cannot be started: {error}", hint="install the OpenSSH client") from error
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or f"ssh ended with {done.returncode}"


def become_ssh(argv: list[str]) -> None:
    """Replaces this process by ssh: its terminal, its signals and its exit status are ssh's. Does not return."""
    try:
        os.execvp(argv[0], argv)  # noqa: S606 (no shell; every word is one argument)
    except OSError as error:
        raise BerthError(f"ssh cannot be started: {error}", hint="install the OpenSSH client") from error
