# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands, locks, and talking to whoever started us."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class LabError(Exception):
    """What the user must know: the text says what was found and what to do."""


def run(*argv: object, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command; a non-zero exit raises CalledProcessError unless check=False."""
    options.setdefault("check", True)
    return subprocess.run([str(word) for word in argv], **options)


def succeeds(*argv: object) -> bool:
    """Run a command silently: did it exit with 0?"""
    quiet = subprocess.DEVNULL
    return run(*argv, check=False, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0


def output(*argv: object) -> str:
    """Standard output of a command that must succeed, stripped."""
    text: str = run(*argv, stdout=subprocess.PIPE, text=True).stdout
    return text.strip()


def spawn(argv: list[str], log: Path, environment: dict[str, str]) -> int:
    """Start a program that outlives this one, in a session of its own, its output appended to a log; its process id."""
    with log.open("ab") as out, Path(os.devnull).open("rb") as nothing:
        streams = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        streams += [(os.POSIX_SPAWN_DUP2, out.fileno(), target) for target in (1, 2)]
        return os.posix_spawnp(argv[0], argv, environment, file_actions=streams, setsid=True)


def is_running(pid: int, word: str) -> bool:
    """Does the process still run, and is `word` in its command line (the id may belong to another one by now)?"""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if word.encode() not in words:  # a dead child of ours that was not waited for has no words at all
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return False
    return True


def say(message: str) -> None:
    """One progress line on standard error; standard output is for results."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


def wait_for(condition: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Poll until the condition holds; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits as long as another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
