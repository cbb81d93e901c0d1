# SPDX-License-Identifier: GPL-3.0-or-later
"""The private folder of one run. It holds what the user asked for, secrets included, so none is left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from berth.errors import BerthError

PREFIX = "berth-run-"
# Another run may clean a new folder away between its making and its lock, so it is made again.
ATTEMPTS = 10


@contextmanager
def run_folder() -> Iterator[Path]:
    """Gives a new folder (0700) and removes it afterwards, along with those of our own runs that were killed.

    Raises BerthError when none can be made.
    """
    try:
        _remove_abandoned()
        folder, lock = _new()
    except OSError as error:
        where = Path(error.filename).parent if error.filename else "TMPDIR"
        raise BerthError(
            f"{where}: no folder for this run can be made: {error.strerror}",
            hint="see its owner, mode and free space, or set TMPDIR to a folder that you can write to",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _new() -> tuple[Path, int | None]:
    """Returns a new folder and the descriptor of its lock; None on a file system that has no locks."""
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            lock = _locked(folder)
            if lock is not None and os.path.samestat(os.fstat(lock), folder.lstat()):
                return folder, lock
            if lock is not None:
                os.close(lock)
            folder.rmdir()
    return Path(tempfile.mkdtemp(prefix=PREFIX)), None


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Returns a descriptor that holds the folder's lock, None while a run holds it. The kernel frees a dead run's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
