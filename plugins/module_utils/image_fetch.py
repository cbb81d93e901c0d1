# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the bytes of an image into its part file, from http(s) or from a file of the host, and proves them.

A transfer that breaks goes on where it was, in this call or in a later one, as long as the server vouches with an
entity tag or a date that the rest belongs to the same file (RFC 9110, sections 13.1.5 and 14.2).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import ssl
import stat
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, REQUEST, ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_part import (
    CHUNK_BYTES,
    PartFile,
    opened,
    require_space,
)
from ansible_collections.berth.kvm.plugins.module_utils.image_sums import SUMS_BYTES_MAX, Digest
from ansible_collections.berth.kvm.plugins.module_utils.image_url import Policy, opener

RETRY_WAITS_S = (1.0, 2.0, 4.0, 8.0)
STALL_S = 30.0
TOO_BIG = "too_big"
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
HEADERS = {"User-Agent": "berth", "Accept-Encoding": "identity"}


class _Passing(Exception):
    """A failure that may be over in a moment."""


@dataclass(frozen=True)
class Order:
    """One file to bring. Without `policy`, `source` is a path on the host, else a URL."""

    source: str
    digest: Digest
    part_path: str
    size_limit_bytes: int
    policy: Optional[Policy] = None


def fetch(order: Order) -> int:
    """Brings the file into `order.part_path`, complete, proved, synced and mode 0644; returns its size in bytes.

    Raises ImageFailure. The part file then stays for a later call, unless its bytes were wrong or the disk is full.
    """
    with opened(order.part_path, order.digest) as part:
        try:
            _bring(order, part)
            if not part.is_complete() and part.joined:
                # Bytes of two versions may have been joined; only one piece proves that the source is wrong.
                part.reset()
                _bring(order, part)
        except ImageFailure as failure:
            if failure.reason == TOO_BIG:
                part.discard()
            raise
        if not part.is_complete():
            part.discard()
            raise ImageFailure(
                REQUEST,
                "digest",
                f"{order.source}: its digest is {part.found()}, expected is {order.digest}; "
                f"the {part.size} bytes were removed: correct the digest, or find out who changed the file. "
                "Where the catalog names the publisher's sums file, `berth image pull` reads the new digest from it",
            )
        part.finish()
        return part.size


def fetch_text(url: str, policy: Optional[Policy]) -> str:
    """Returns the text of a small file (a sums file), from a URL or, without a policy, from a path on the host."""
    if policy is None:
        with _regular_file(url) as source:
            data = bytes(source.read(SUMS_BYTES_MAX + 1))
    else:
        policy.check(url)
        data = bytes(_retried(url, lambda: _read_small(url, policy)))
    if len(data) > SUMS_BYTES_MAX:
        raise ImageFailure(REQUEST, "sums", f"{url}: more than {SUMS_BYTES_MAX} bytes; that is no sums file")
    return data.decode("utf-8", "replace")


def file_digest(path: str, algorithm: str = "sha256") -> Digest:
    """Returns the digest of a regular file of the host."""
    digest = hashlib.new(algorithm)
    with _regular_file(path) as source:
        for chunk in _chunks(source.read):
            digest.update(chunk)
    return Digest(algorithm, digest.hexdigest())


def _bring(order: Order, part: PartFile) -> None:
    if order.policy is not None:
        order.policy.check(order.source)
    if part.is_complete():
        return
    if order.policy is None:
        _copy(order, part)
        return
    waits = list(RETRY_WAITS_S)
    while not part.is_complete():
        before = part.size
        try:
            _receive(order, part, order.policy)
            return
        except _Passing as error:
            if part.size > before:
                waits = list(RETRY_WAITS_S)
            _wait_or_give_up(waits, order.source, f"{error}; the first {part.size} bytes are kept: run again to go on")


def _retried(source: str, action: Any) -> Any:
    waits = list(RETRY_WAITS_S)
    while True:
        try:
            return action()
        except _Passing as error:
            _wait_or_give_up(waits, source, str(error))


def _wait_or_give_up(waits: "list[float]", source: str, what: str) -> None:
    if not waits:
        attempts = len(RETRY_WAITS_S) + 1
        raise ImageFailure(HOST, "network", f"{source}: gave up after {attempts} attempts without progress: {what}")
    time.sleep(waits.pop(0))


def _copy(order: Order, part: PartFile) -> None:
    with _regular_file(order.source) as source:
        size_bytes = os.fstat(source.fileno()).st_size
        _check_size(order, size_bytes)
        part.reset()
        require_space(os.path.dirname(part.path), size_bytes)
        for chunk in _chunks(source.read):
            part.append(chunk)


@contextlib.contextmanager
def _regular_file(path: str) -> Iterator[Any]:
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise ImageFailure(HOST, "source", f"{path}: cannot be read on the host: {error.strerror}") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ImageFailure(REQUEST, "source", f"{path}: allowed is a regular file")
        yield file


def _chunks(read: Any) -> Iterator[bytes]:
    while True:
        chunk = read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def _receive(order: Order, part: PartFile, policy: Policy) -> None:
    """One request for what is missing of the part, until its end. Raises _Passing where another one may help."""
    headers = dict(HEADERS)
    validator = part.validator(order.source)
    if part.size and validator:
        headers.update({"Range": f"bytes={part.size}-", "If-Range": validator})
    with _response(order.source, headers, policy, part) as response:
        if response.status == 206 and _range_start(response) != part.size:
            part.reset()
            raise _Passing("the server sent another range than was asked for")
        if response.status == 200:
            part.reset()
        part.joined = part.joined or part.size > 0
        length = _length(response)
        missing = length if length is not None else 0
        _check_size(order, part.size + missing)
        require_space(os.path.dirname(part.path), missing)
        part.remember(order.source, _validator(response.headers))
        end = None if length is None else part.size + length
        for chunk in _received(response):
            _check_size(order, part.size + len(chunk))
            part.append(chunk)
        if end is not None and part.size < end:
            raise _Passing(f"the connection ended {end - part.size} bytes early")


def _read_small(url: str, policy: Policy) -> bytes:
    with _response(url, HEADERS, policy) as response:
        data = b""
        for chunk in _received(response):
            data += chunk
            if len(data) > SUMS_BYTES_MAX:
                break
        return data


@contextlib.contextmanager
def _response(url: str, headers: Dict[str, str], policy: Policy, part: Optional[PartFile] = None) -> Iterator[Any]:
    """Yields an answer with status 200 or 206. Raises _Passing or ImageFailure for every other outcome."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the policy has seen it
    try:
        response = opener(policy).open(request, timeout=STALL_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and part is not None and part.size:
            part.reset()
            raise _Passing("the server has not as many bytes as were already here") from error
        if error.code in PASSING_STATUSES:
            raise _Passing(f"the server answered {error.code} {error.reason}") from error
        raise ImageFailure(
            REQUEST, "http_status", f"{url}: the server answered {error.code} {error.reason}; check the address"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _network_failure(url, error) from error
    with response:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if response.status not in (200, 206) or encoding != "identity":
            raise ImageFailure(
                REQUEST, "http_status", f"{url}: the server answered {response.status} with encoding {encoding}"
            )
        yield response


def _received(response: Any) -> Iterator[bytes]:
    """Yields what comes as it comes: a read for a whole chunk would wait for a slow server's last byte of it."""
    try:
        yield from _chunks(response.read1)
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(_text(error)) from error


def _network_failure(url: str, error: Exception) -> Exception:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ImageFailure(
            HOST,
            "tls",
            f"{url}: the server's certificate does not hold: {cause.verify_message}; check the host's clock",
        )
    if isinstance(error, http.client.InvalidURL):
        return ImageFailure(REQUEST, "url_refused", f"{url}: {error}")
    return _Passing(_text(cause))


def _text(error: Any) -> str:
    return str(error) or type(error).__name__


def _range_start(response: Any) -> Optional[int]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", "").strip())
    return int(found.group(1)) if found else None


def _length(response: Any) -> Optional[int]:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and not response.headers.get("Transfer-Encoding") else None


def _validator(headers: Any) -> str:
    """Returns the strong entity tag, else the date, else ''. If-Range takes no weak tag (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag", "")
    return str(tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", ""))


def _check_size(order: Order, size_bytes: int) -> None:
    if size_bytes > order.size_limit_bytes:
        raise ImageFailure(
            REQUEST,
            TOO_BIG,
            f"{order.source}: {size_bytes} bytes or more; allowed are {order.size_limit_bytes} by max_virtual_size_gib",
        )
