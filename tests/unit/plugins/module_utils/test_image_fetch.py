# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers from a real web server that misbehaves, and from files."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import image_fetch
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, REQUEST, ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_fetch import Order, fetch, fetch_text
from ansible_collections.berth.kvm.plugins.module_utils.image_sums import Digest
from ansible_collections.berth.kvm.plugins.module_utils.image_url import Policy

CONTENT = random.Random(7).randbytes(600_000)
OTHER = random.Random(8).randbytes(600_000)
LOCAL = Policy(allow_local=True)
LIMIT = 10_000_000
DATE = "Thu, 20 Nov 2025 10:00:00 GMT"


def digest_of(content: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, content).hexdigest())


def order(url: str, folder: Path, content: bytes = CONTENT, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "source": url,
        "digest": digest_of(content),
        "part_path": str(folder / ".x.part"),
        "size_limit_bytes": LIMIT,
        "policy": LOCAL,
    }
    return Order(**{**fields, **changes})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_fetch, "RETRY_WAITS_S", (0.01, 0.01, 0.01, 0.01))


RECOVERED: dict[str, dict[str, Any]] = {
    "no fault": {},
    "without a length": {"length": False},
    "500 twice, then served": {"first_statuses": [500, 503]},
    "too many requests, then served": {"first_statuses": [429]},
    "broken off three times": {"first_cuts": [100_000, 1, 300_000]},
    "broken off, date in place of a tag": {"first_cuts": [100_000], "etag": "", "last_modified": DATE},
    "broken off, server without ranges": {"first_cuts": [100_000], "ranges": False},
    "broken off, weak tag": {"first_cuts": [100_000], "etag": 'W/"v1"'},
    "broken off, nothing to vouch for the rest": {"first_cuts": [100_000], "etag": ""},
    "broken off at the very end": {"first_cuts": [599_999]},
}  # fmt: skip


@pytest.mark.parametrize("name", RECOVERED)
def test_faults_that_pass(image_server: Any, tmp_path: Path, name: str) -> None:
    url = image_server.serve("/x.qcow2", CONTENT, **RECOVERED[name])
    assert fetch(order(url, tmp_path)) == len(CONTENT)
    assert (tmp_path / ".x.part").read_bytes() == CONTENT
    assert (tmp_path / ".x.part").stat().st_mode & 0o777 == 0o644


def test_going_on_costs_only_the_rest(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", CONTENT, first_cuts=[400_000])
    fetch(order(url, tmp_path))
    assert [answer.range for answer in image_server.answers] == ["", "bytes=400000-"]
    assert image_server.sent("/x") == len(CONTENT)


def test_a_changed_file_is_fetched_from_its_start(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", OTHER, first_cuts=[100_000] * 5, etag='"old"', ranges=False)
    with pytest.raises(ImageFailure, match=r"bytes are kept|without progress"):
        fetch(order(url, tmp_path))
    image_server.serve("/x", CONTENT, etag='"new"')
    fetch(order(url, tmp_path))
    assert image_server.answers[-1].range == "bytes=100000-"
    assert image_server.answers[-1].status == 200
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_gone_on_with(image_server: Any, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(OTHER[:1000])
    (tmp_path / ".x.part.json").write_text('{"source": "http://elsewhere/x", "validator": "\\"v1\\""}')
    url = image_server.serve("/x", CONTENT)
    fetch(order(url, tmp_path))
    assert [answer.range for answer in image_server.answers] == [""]


def test_joined_bytes_that_do_not_fit_are_fetched_once_more_in_one_piece(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", CONTENT)
    (tmp_path / ".x.part").write_bytes(OTHER[:1000])
    (tmp_path / ".x.part.json").write_text(f'{{"source": "{url}", "validator": "\\"v1\\""}}')
    fetch(order(url, tmp_path))
    assert [answer.range for answer in image_server.answers] == ["bytes=1000-", ""]
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{", "[]", '{"source": 1}', "null", '"text"'])
def test_a_torn_note_is_no_obstacle(image_server: Any, tmp_path: Path, note: str) -> None:
    (tmp_path / ".x.part").write_bytes(CONTENT[:1000])
    (tmp_path / ".x.part.json").write_text(note)
    fetch(order(image_server.serve("/x", CONTENT), tmp_path))
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


def test_a_complete_part_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(CONTENT)
    assert fetch(order("http://127.0.0.1:1/x", tmp_path)) == len(CONTENT)


def test_a_part_longer_than_the_file_is_started_anew(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", CONTENT)
    (tmp_path / ".x.part").write_bytes(OTHER + OTHER)
    (tmp_path / ".x.part.json").write_text(f'{{"source": "{url}", "validator": "\\"v1\\""}}')
    fetch(order(url, tmp_path))
    assert [answer.status for answer in image_server.answers] == [416, 200]


def test_a_server_that_answers_another_range(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", CONTENT, first_cuts=[1000], range_shift=7)
    fetch(order(url, tmp_path))
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    # name: (resource, order, kind, reason, text)
    "wrong digest": ({}, {"digest": digest_of(OTHER)}, REQUEST, "digest", digest_of(CONTENT).hex),
    "wrong sha512": ({}, {"digest": digest_of(OTHER, "sha512")}, REQUEST, "digest", digest_of(OTHER, "sha512").hex),
    "not found": ({"first_statuses": [404]}, {}, REQUEST, "http_status", "404"),
    "forbidden": ({"first_statuses": [403]}, {}, REQUEST, "http_status", "403"),
    "always 500": ({"first_statuses": [500] * 9}, {}, HOST, "network", "gave up after 5 attempts"),
    "always broken off at once": ({"first_cuts": [0] * 9}, {}, HOST, "network", "600000 bytes early"),
    "bigger than allowed by its length": ({}, {"size_limit_bytes": 1000}, REQUEST, "too_big", "600000 bytes"),
    "bigger than allowed, no length": ({"length": False}, {"size_limit_bytes": 1000}, REQUEST, "too_big", "1000"),
    "packed on the way": ({"encoding": "gzip"}, {}, REQUEST, "http_status", "encoding gzip"),
    "redirect to a file": ({"redirect": "file:///etc/passwd"}, {}, REQUEST, "url_refused", "scheme 'file'"),
    "redirect to ftp": ({"redirect": "ftp://example.org/x"}, {}, REQUEST, "url_refused", "scheme 'ftp'"),
    "redirect in a circle": ({"redirect": "/x"}, {}, REQUEST, "url_refused", "more than 10 redirects"),
    "redirect to nowhere": ({"redirect": "https:///x"}, {}, REQUEST, "url_refused", "no host"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_faults_that_stay(image_server: Any, tmp_path: Path, name: str) -> None:
    resource, changes, kind, reason, text = FAILURES[name]
    url = image_server.serve("/x", CONTENT, **resource)
    with pytest.raises(ImageFailure) as caught:
        fetch(order(url, tmp_path, **changes))
    assert (caught.value.kind, caught.value.reason) == (kind, reason)
    assert text in caught.value.message
    assert url in caught.value.message
    left = [file.name for file in tmp_path.iterdir()]
    assert left == [], "neither wrong bytes nor an empty file stay"


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ImageFailure, match="Connection refused") as caught:
        fetch(order("http://127.0.0.1:1/x", tmp_path))
    assert caught.value.kind == HOST


def test_a_name_that_leads_to_the_host_is_refused_before_a_request(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/x", CONTENT)
    for host in ("127.0.0.1", "localhost", "0177.0.0.1"):
        with pytest.raises(ImageFailure, match="allow_local_source"):
            fetch(order(url.replace("127.0.0.1", host), tmp_path, policy=Policy()))
    assert image_server.answers == []


def test_an_address_found_only_by_connecting_is_refused(
    image_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "check_host", lambda *_: None)
    url = image_server.serve("/x", CONTENT)
    with pytest.raises(ImageFailure, match=r"its address is 127\.0\.0\.1") as caught:
        fetch(order(url, tmp_path, policy=Policy()))
    assert caught.value.reason == "url_refused"
    assert image_server.answers == []


def test_a_redirect_is_followed_with_its_range(image_server: Any, tmp_path: Path) -> None:
    image_server.serve("/real", CONTENT, first_cuts=[1000])
    fetch(order(image_server.serve("/x", redirect="/real"), tmp_path))
    ranges = [answer.range for answer in image_server.answers if answer.path == "/real"]
    assert ranges == ["", "bytes=1000-"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Returns a file with a key and a certificate for 127.0.0.1 that vouches for itself."""
    path = tmp_path / "server.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "1", "-subj", "/CN=test"]
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-nodes",
        *options,
        *alternative,
        "-keyout",
        str(path),
        "-out",
        str(path) + ".crt",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_https_with_and_without_trust(
    image_server: Any, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    image_server.http.socket = context.wrap_socket(image_server.http.socket, server_side=True)
    url = image_server.serve("/x", CONTENT).replace("http:", "https:")
    with pytest.raises(ImageFailure, match="certificate does not hold: self-signed") as caught:
        fetch(order(url, tmp_path))
    assert (caught.value.kind, caught.value.reason) == (HOST, "tls")
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    fetch(order(url, tmp_path))
    assert (tmp_path / ".x.part").read_bytes() == CONTENT
    monkeypatch.setattr(Policy, "check_host", lambda *_: None)
    with pytest.raises(ImageFailure, match="its address is"):
        fetch(order(url, tmp_path, part_path=str(tmp_path / ".y.part"), policy=Policy()))


def test_a_proxy_on_the_host_is_used(image_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The proxy gets the whole URL as path; the name is for the proxy to resolve.
    image_server.serve("http://images.example/x", CONTENT)
    monkeypatch.setenv("http_proxy", image_server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    fetch(order("http://images.example/x", tmp_path, policy=Policy()))
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


def test_a_redirect_to_cloud_metadata(image_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_server.serve("http://images.example/x", redirect="http://169.254.169.254/latest")
    monkeypatch.setenv("http_proxy", image_server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ImageFailure, match=r"redirects to 169\.254\.169\.254: .*allow_local_source"):
        fetch(order("http://images.example/x", tmp_path, policy=Policy()))


def test_a_file_of_the_host(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    (tmp_path / ".x.part").write_bytes(OTHER[:1000])
    assert fetch(order(str(source), tmp_path, policy=None)) == len(CONTENT)
    assert (tmp_path / ".x.part").read_bytes() == CONTENT


def fifo(path: Path) -> None:
    os.mkfifo(path)


SOURCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "a pipe that nobody writes": (fifo, "regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "regular file"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_that_are_no_files(tmp_path: Path, name: str) -> None:
    build, text = SOURCES[name]
    build(tmp_path / "source")
    with pytest.raises(ImageFailure, match=text):
        fetch(order(str(tmp_path / "source"), tmp_path, policy=None))


def test_a_link_in_place_of_the_part_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".x.part").symlink_to(victim)
    (tmp_path / "source").write_bytes(CONTENT)
    with pytest.raises(OSError, match="symbolic links"):
        fetch(order(str(tmp_path / "source"), tmp_path, policy=None))
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small file system")
@pytest.mark.parametrize("announced", [True, False])
def test_a_full_disk(image_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        if not announced:
            # Without the margin the transfer begins, and the disk is full in the middle of it.
            monkeypatch.setattr("ansible_collections.berth.kvm.plugins.module_utils.image_part.SPACE_MARGIN_BYTES", 0)
        url = image_server.serve("/x", CONTENT, length=announced)
        (small / ".other.part").write_bytes(b"kept")
        with pytest.raises(ImageFailure) as caught:
            fetch(order(url, small))
        assert (caught.value.kind, caught.value.reason) == (HOST, "no_space")
        assert (image_server.sent("/x") > 0) or announced
        if not announced:
            assert [file.name for file in small.iterdir()] == [".other.part"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_texts(image_server: Any, tmp_path: Path) -> None:
    url = image_server.serve("/SUMS", b"abc", first_statuses=[502])
    assert fetch_text(url, LOCAL) == "abc"
    (tmp_path / "SUMS").write_text("def")
    assert fetch_text(str(tmp_path / "SUMS"), None) == "def"
    image_server.serve("/SUMS", b"x" * 1_100_000)
    with pytest.raises(ImageFailure, match="no sums file"):
        fetch_text(url, LOCAL)
    with pytest.raises(ImageFailure, match="scheme 'http'"):
        fetch_text(url, Policy(schemes=("https",), allow_local=True))
