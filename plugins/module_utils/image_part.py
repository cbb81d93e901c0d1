# SPDX-License-Identifier: GPL-3.0-or-later
"""The unfinished file of a pull: hashed while it grows, and good for going on after its writer was killed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from typing import Any, Dict, Iterator

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_sums import Digest

CHUNK_BYTES = 1024 * 1024
SPACE_MARGIN_BYTES = 64 * 1024**2
NOTE_SUFFIX = ".json"


class PartFile:
    """A part file and the note beside it that says which source, in which version, its bytes came from.

    Opening it hashes what is already there. `size` is the number of bytes that it has; `joined` tells whether bytes of
    more than one response are in it. Must be closed; the file stays for a later call unless discard() was called.
    """

    def __init__(self, path: str, digest: Digest) -> None:
        self.path = path
        self.digest = digest
        self.joined = False
        self.size = 0
        self._hash = hashlib.new(digest.algorithm)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise ImageFailure(HOST, "io", f"{path}: must be a regular file; remove what is there")
        while True:
            chunk = os.read(self._fd, CHUNK_BYTES)
            if not chunk:
                break
            self._hash.update(chunk)
            self.size += len(chunk)

    def append(self, chunk: bytes) -> None:
        """Adds bytes at the end. Raises ImageFailure when they cannot be written; without space the file is removed."""
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.discard()
                raise no_space(self.path, f"after {self.size} bytes: {error.strerror}") from error
            raise ImageFailure(HOST, "io", f"{self.path}: cannot be written: {error.strerror}") from error
        self._hash.update(chunk)
        self.size += len(chunk)

    def reset(self) -> None:
        """Empties the file: the next bytes are the first."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self.digest.algorithm)
        self.size = 0
        self.joined = False

    def found(self) -> Digest:
        """Returns the digest of the bytes so far."""
        return Digest(self.digest.algorithm, self._hash.hexdigest())

    def is_complete(self) -> bool:
        """Tells whether these are all the bytes that were asked for, and the right ones."""
        return self.found() == self.digest

    def remember(self, source: str, validator: str) -> None:
        """Notes where the bytes come from. `validator` is what If-Range takes, '' when there is none."""
        self._forget()
        if validator:
            with open(self.path + NOTE_SUFFIX, "w", encoding="utf-8") as note:
                json.dump({"source": source, "validator": validator}, note)

    def validator(self, source: str) -> str:
        """Returns what was remembered for this source, '' when nothing was or the note is torn."""
        note: Dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            with open(self.path + NOTE_SUFFIX, encoding="utf-8") as file:
                note = json.load(file)
        known = isinstance(note, dict) and note.get("source") == source
        return str(note.get("validator", "")) if known else ""

    def finish(self) -> None:
        """Makes the file safe on disk and readable for every user, as a backing file must be for QEMU's."""
        os.fchmod(self._fd, 0o644)
        os.fsync(self._fd)

    def discard(self) -> None:
        """Removes the file and its note."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._forget()

    def close(self) -> None:
        """Closes the file, which stays where it is."""
        os.close(self._fd)

    def _forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path + NOTE_SUFFIX)


@contextlib.contextmanager
def opened(path: str, digest: Digest) -> Iterator[PartFile]:
    """Opens a part file for the body and closes it. A file that is empty in the end does not stay."""
    part = PartFile(path, digest)
    try:
        yield part
    finally:
        if not part.size and not part.is_complete():
            part.discard()
        part.close()


def require_space(directory: str, needed_bytes: int) -> None:
    """Raises ImageFailure unless `directory` has room for the bytes and a margin."""
    system = os.statvfs(directory)
    free_bytes = system.f_bavail * system.f_frsize
    if free_bytes < needed_bytes + SPACE_MARGIN_BYTES:
        raise no_space(
            directory,
            f"{needed_bytes} bytes and a margin of {SPACE_MARGIN_BYTES} are needed, {free_bytes} are free",
        )


def no_space(path: str, what: str) -> ImageFailure:
    """Returns the failure of a full disk."""
    return ImageFailure(HOST, "no_space", f"{path}: no space, {what}; free some or set images_path to a bigger disk")
