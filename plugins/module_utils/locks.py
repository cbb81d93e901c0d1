# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between processes of one host: one file and one flock per name.

The kernel drops a flock when its holder dies, so a killed run never leaves a lock behind; the file that may stay is
only a name, and the next holder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from typing import Iterator, Sequence, Tuple

RUN_DIRECTORY = "/run/lock/berth"
# Held while a host's guests are checked, given disks and defined, and while an image is removed that they may use.
HOST_LOCK = "guests"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")
FIRST_WAIT_S = 0.02
LONGEST_WAIT_S = 0.5


class LockError(Exception):
    """The lock cannot be had. The text says why and what to do."""


class LockTimeout(LockError):
    """Somebody else held the lock for the whole time. `holder_pid` is 0 when the holder is not known."""

    def __init__(self, message: str, holder_pid: int) -> None:
        super().__init__(message)
        self.holder_pid = holder_pid


def lock_directories(instances_path: str) -> Tuple[str, ...]:
    """Returns where a host's locks are, best first: every process of one user must ask for the same ones."""
    return (RUN_DIRECTORY, os.path.join(instances_path, ".locks"))


def image_lock_name(digest: str) -> str:
    """Returns the lock's name of a cached image (`sha256:hex`): held to make or remove that file."""
    return "image-" + digest.replace(":", "-")


@contextlib.contextmanager
def held(name: str, *, directories: Sequence[str], timeout_s: float) -> Iterator[str]:
    """Holds the lock `name` for the body and yields the path of its file.

    `directories` are tried in order; the first in which this user may keep locks is used. Not re-entrant: a second
    `held` of one name waits, in the same process too. Raises LockTimeout after `timeout_s`, naming the holder's pid,
    and LockError when no directory serves or the name is not a plain file name.
    """
    if not NAME.match(name):
        raise LockError(f"lock name {name!r}: allowed are letters, digits, dot, dash and underscore")
    path = os.path.join(_first_usable(directories), name + ".lock")
    fd = _acquire(path, name, timeout_s)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield path
    finally:
        # Removed while still held: who waits on this inode sees that the name has gone and opens it anew.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(fd)


def _acquire(path: str, name: str, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    wait_s = FIRST_WAIT_S
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LockError(f"lock {name}: {path} cannot be opened: {error.strerror}") from error
        if _try_lock(fd) and _is_current(fd, path):
            return fd
        holder = _holder(fd)
        os.close(fd)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            who = f"process {holder}" if holder else "another process"
            raise LockTimeout(
                f"lock {name}: {who} held it for the {timeout_s:g} s that were allowed; wait for it to end, "
                f"then run again ({path})",
                holder,
            )
        time.sleep(min(wait_s, left_s))
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        os.close(fd)
        raise LockError(f"the lock's file system cannot lock: {error}") from error
    return True


def _is_current(fd: int, path: str) -> bool:
    """Tells whether the name still leads to the open file: the holder before may have removed it meanwhile."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _holder(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _first_usable(directories: Sequence[str]) -> str:
    reasons = []
    for directory in directories:
        reason = _why_unusable(directory)
        if not reason:
            return directory
        reasons.append(f"{directory}: {reason}")
    raise LockError("no directory for locks: " + "; ".join(reasons))


def _why_unusable(directory: str) -> str:
    """Returns '' when locks can be kept in `directory`, which is made when absent, else the reason.

    /run/lock is writable by everybody on Debian. So only root makes a folder there (another user's would keep root
    out), and root refuses to go on with one that somebody else made.
    """
    try:
        if not os.path.lexists(directory):
            parent = os.path.dirname(directory)
            os.makedirs(parent, mode=0o711, exist_ok=True)
            if os.geteuid() != 0 and os.stat(parent).st_mode & stat.S_IWOTH:
                return "only root makes it"
            os.makedirs(directory, mode=0o700, exist_ok=True)
        found = os.lstat(directory)
    except OSError as error:
        return str(error.strerror)
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not ours and os.geteuid() == 0:
        raise LockError(
            f"{directory}: must be a folder of root that nobody else can write, found uid {found.st_uid}, "
            f"mode {stat.S_IMODE(found.st_mode):04o}; find out who made it and remove it"
        )
    return "" if ours else f"belongs to uid {found.st_uid} or can be written by others"
