# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache of a host: files named by the digest of their content, made present or removed.

A file under its final name is always complete, proved and inspected: it gets that name by one rename at the end.
Whoever is killed before leaves a part file, from which the next call goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import stat
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional
from urllib.parse import unquote, urlsplit

from ansible_collections.berth.kvm.plugins.module_utils import image_qemu
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, REQUEST, ImageFailure, ImageRefused
from ansible_collections.berth.kvm.plugins.module_utils.image_fetch import Order, fetch, fetch_text, file_digest
from ansible_collections.berth.kvm.plugins.module_utils.image_format import GIB, ImageFacts, inspect
from ansible_collections.berth.kvm.plugins.module_utils.image_part import NOTE_SUFFIX, require_space
from ansible_collections.berth.kvm.plugins.module_utils.image_qcow2 import backing_file
from ansible_collections.berth.kvm.plugins.module_utils.image_sums import Digest, digest_of, parse_digest
from ansible_collections.berth.kvm.plugins.module_utils.image_url import Policy, file_path, has_scheme
from ansible_collections.berth.kvm.plugins.module_utils.locks import (
    HOST_LOCK,
    LockError,
    LockTimeout,
    held,
    image_lock_name,
    lock_directories,
)

PART_NAME = re.compile(r"\.(?P<lock>sha(?:256|512)-[0-9a-f]+)\.(?:qcow2|raw)\.part")
STALE_PART_S = 24 * 3600
# What a qcow2 file may have beyond its virtual size: its tables take less than 1/8 even with the smallest clusters.
OVERHEAD_BYTES = 64 * 1024**2
ALARM_REPEAT_S = 5
# Less than all of the time, so that who waits in vain can still say for whom.
LOCK_SHARE = 0.9


@dataclass(frozen=True)
class Image:
    """One image as the module takes it. `upload` is where the action plug-in left a file of the controller."""

    name: str
    format: str
    source: str = ""
    digest: str = ""
    sums: str = ""
    max_virtual_size_gib: int = 100
    allow_local_source: bool = False
    insecure: bool = False
    upload: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Places:
    """The folders of the host and how long one image may take, waiting for its lock included."""

    images_path: str
    instances_path: str
    timeout_s: float


def cache_path(images_path: str, digest: Digest, image_format: str) -> str:
    """Returns where the image with this digest is cached. Only the digest and the format make the name."""
    return os.path.join(images_path, f"{digest.algorithm}-{digest.hex}.{image_format}")


class ImageCache:
    """Makes images present or absent. Every outcome, failures too, is one item as docs/data.md, section 4, has it."""

    def __init__(self, places: Places, *, check_mode: bool) -> None:
        self._places = places
        self._check_mode = check_mode
        self._sums: Dict[str, str] = {}

    def present(self, image: Image) -> Dict[str, Any]:
        """Makes the image present and returns its item. In check mode the item says what would be done."""
        return self._item(image, self._make_present)

    def absent(self, image: Image) -> Dict[str, Any]:
        """Removes the image of the given digest, unless the disk of a guest is based on it; returns its item."""
        return self._item(image, self._make_absent)

    def _item(self, image: Image, work: Any) -> Dict[str, Any]:
        item: Dict[str, Any] = {
            **dict.fromkeys(("path", "digest", "virtual_size_bytes", "size_bytes", "kind", "reason", "message")),
            "name": image.name,
            "format": image.format,
            "ok": True,
            "changed": False,
        }
        try:
            with _time_limit(self._places.timeout_s):
                work(image, item)
        except ImageFailure as failure:
            _fail(item, failure)
        except LockTimeout as error:
            _fail(item, ImageFailure(HOST, "locked", str(error)))
        except LockError as error:
            _fail(item, ImageFailure(HOST, "lock", str(error)))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            _fail(item, ImageFailure(HOST, "no_space" if full else "io", str(error)))
        return item

    def _make_present(self, image: Image, item: Dict[str, Any]) -> None:
        digest = self._digest(image)
        path = cache_path(self._places.images_path, digest, image.format)
        item.update(digest=str(digest), path=path)
        if _take_over(path, image, item):
            return
        if self._check_mode:
            item.update(changed=True, message=f"image {image.name}: would be brought from {image.source}")
            return
        _make_folder(self._places.images_path)
        with self._locked(digest):
            # Somebody else may have brought it while this call waited.
            if _take_over(path, image, item):
                return
            if not has_scheme(image.source) and not image.upload:
                require_space(self._places.images_path, image.size_bytes)
                raise ImageFailure(HOST, "needs_upload", f"{image.source} must be carried over from the controller")
            facts = self._pull(image, digest, path)
            item.update(changed=True, **_sizes(facts))
        self._remove_stale_parts()

    def _pull(self, image: Image, digest: Digest, path: str) -> ImageFacts:
        folder, name = os.path.split(path)
        part = os.path.join(folder, f".{name}.part")
        fetch(_order(image, digest, part))
        try:
            facts = _inspect(part, image)
            image_qemu.verify(part, facts)
        except ImageFailure:
            _remove_part(part)
            raise
        os.rename(part, path)
        _sync_folder(folder)
        _remove_part(part)
        return facts

    def _make_absent(self, image: Image, item: Dict[str, Any]) -> None:
        if not image.digest:
            raise ImageFailure(REQUEST, "digest_missing", "state absent removes by digest; name one")
        digest = parse_digest(image.digest)
        path = cache_path(self._places.images_path, digest, image.format)
        item.update(digest=str(digest), path=path)
        folder, name = os.path.split(path)
        part = os.path.join(folder, f".{name}.part")
        if not (os.path.lexists(path) or os.path.lexists(part)):
            return
        with contextlib.ExitStack() as locks:
            if not self._check_mode:
                # No guest gets an overlay on it between the look for its users and the end.
                locks.enter_context(self._held(HOST_LOCK))
                locks.enter_context(self._locked(digest))
            users = _disks_on(path, self._places.instances_path)
            if users:
                more = f" and {len(users) - 3} more" if len(users) > 3 else ""
                raise ImageFailure(
                    REQUEST,
                    "in_use",
                    f"{path} is the base of {len(users)} disks ({', '.join(users[:3])}{more}); delete the guests first",
                )
            item["changed"] = True
            if not self._check_mode:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                _remove_part(part)

    def _digest(self, image: Image) -> Digest:
        """Returns the digest that decides about the image: the given one, else the publisher's, else the file's."""
        if image.digest:
            return parse_digest(image.digest)
        if image.sums:
            name = unquote(urlsplit(image.source).path if has_scheme(image.source) else image.source)
            return digest_of(self._sums_text(image), name.rsplit("/", 1)[-1], image.sums)
        if urlsplit(image.source).scheme == "file":
            return file_digest(file_path(image.source))
        raise ImageFailure(
            REQUEST, "digest_missing", f"{image.source}: needs `digest`, or the publisher's sums file under `sums`"
        )

    def _sums_text(self, image: Image) -> str:
        if image.sums not in self._sums:
            if not has_scheme(image.sums):
                raise ImageFailure(REQUEST, "url_refused", f"{image.sums}: sums must be a URL: https:// or file:///")
            if urlsplit(image.sums).scheme == "file":
                self._sums[image.sums] = fetch_text(file_path(image.sums), None)
            else:
                policy = Policy(
                    schemes=("https", "http") if image.insecure else ("https",),
                    allow_local=image.allow_local_source,
                    why_not="sums that anybody on the way can change prove nothing; name a digest, or insecure: true",
                )
                self._sums[image.sums] = fetch_text(image.sums, policy)
        return self._sums[image.sums]

    def _locked(self, digest: Digest) -> Any:
        return self._held(image_lock_name(str(digest)))

    def _held(self, name: str) -> Any:
        directories = lock_directories(self._places.instances_path)
        return held(name, directories=directories, timeout_s=self._places.timeout_s * LOCK_SHARE)

    def _remove_stale_parts(self) -> None:
        """Removes part files that no pull has touched for a day: images that nobody asks for any more."""
        folder = self._places.images_path
        directories = lock_directories(self._places.instances_path)
        for name in os.listdir(folder):
            match = PART_NAME.fullmatch(name)
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError, LockTimeout):
                if match and time.time() - os.lstat(path).st_mtime > STALE_PART_S:
                    with held(f"image-{match.group('lock')}", directories=directories, timeout_s=0):
                        _remove_part(path)


def _take_over(path: str, image: Image, item: Dict[str, Any]) -> bool:
    """Tells whether the image is in the cache, with its sizes put into the item."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise ImageFailure(HOST, "io", f"{path}: must be a regular file; remove what is there")
    try:
        item.update(_sizes(_inspect(path, image)))
    except ImageRefused as refused:
        if refused.reasons == ("virtual_size",):
            raise
        # It passed when it came, so it is this host's copy that is not what it was.
        raise ImageFailure(
            HOST,
            "damaged",
            f"{path}: {refused.message}; remove it with state: absent and its digest, then pull it again",
        ) from refused
    return True


def _inspect(path: str, image: Image) -> ImageFacts:
    with open(path, "rb") as file:
        return inspect(file, declared=image.format, max_virtual_size_bytes=image.max_virtual_size_gib * GIB)


def _sizes(facts: ImageFacts) -> Dict[str, int]:
    return {"virtual_size_bytes": facts.virtual_size_bytes, "size_bytes": facts.size_bytes}


def _order(image: Image, digest: Digest, part: str) -> Order:
    limit_bytes = image.max_virtual_size_gib * GIB
    limit_bytes += limit_bytes // 8 + OVERHEAD_BYTES
    if image.upload:
        return Order(image.upload, digest, part, limit_bytes)
    if urlsplit(image.source).scheme == "file":
        return Order(file_path(image.source), digest, part, limit_bytes)
    return Order(image.source, digest, part, limit_bytes, Policy(allow_local=image.allow_local_source))


def _fail(item: Dict[str, Any], failure: ImageFailure) -> None:
    message = f"image {item['name']}: {failure.message}"
    item.update(ok=False, changed=False, kind=failure.kind, reason=failure.reason, message=message)


def _disks_on(path: str, instances_path: str) -> List[str]:
    """Returns the files under instances_path that name the image as backing file, however they spell its path."""
    name = os.path.basename(path)
    found = []
    for folder, _folders, files in os.walk(instances_path):
        for file in files:
            disk = os.path.join(folder, file)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(disk).st_mode):
                    with open(disk, "rb") as content:
                        if name in backing_file(content):
                            found.append(disk)
    return sorted(found)


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path)
    except FileExistsError:
        return
    # Not left to the umask: QEMU's user must get through to its base.
    os.chmod(path, 0o711)  # noqa: S103


def _remove_part(part: str) -> None:
    for path in (part, part + NOTE_SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _time_limit(timeout_s: float) -> Iterator[None]:
    """Ends the body with an ImageFailure after timeout_s, wherever it waits: lock, server, disk or qemu-img."""

    def overdue(_signal: int, _frame: Optional[Any]) -> None:
        raise ImageFailure(
            HOST, "timeout", f"not done within timeout_s, {timeout_s:g} s; what came is kept: run again to go on"
        )

    before = signal.signal(signal.SIGALRM, overdue)
    # It repeats, because an exception that is raised inside a destructor is lost.
    signal.setitimer(signal.ITIMER_REAL, timeout_s, ALARM_REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
