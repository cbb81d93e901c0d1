# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from berth.spec.image import Image, default_login_user, digest_in_sums

SHA256 = "sha256:" + "ab" * 32
SHA512 = "sha512:" + "cd" * 64
URL = "https://example.org/images/a.qcow2"
SUMS = "https://example.org/images/SHA256SUMS"


def image(**given: Any) -> Image:
    return Image.model_validate({"name": "a", "source": URL, "format": "qcow2", "digest": SHA256, **given})


GOOD = {
    "digest": {},
    "longer digest": {"digest": SHA512},
    "sums": {"digest": None, "sums": SUMS},
    "sums over https of a source over http": {"digest": None, "source": "http://example.org/a.img", "sums": SUMS},
    "http with a digest": {"source": "http://example.org/a.qcow2"},
    "http sums, said insecure": {"digest": None, "sums": "http://example.org/S", "insecure": True},
    "path without a digest": {"source": "images/a.qcow2", "digest": None},
    "private address": {"source": "http://192.168.1.5:8080/a.qcow2"},
    "address of version 6": {"source": "http://[2001:db8::1]/a.qcow2"},
    "file of the host, allowed": {"source": "file:///srv/a.qcow2", "allow_local_source": True},
    "host itself, allowed": {"source": "http://127.0.0.1:8000/a.qcow2", "allow_local_source": True},
}

# What is wrong -> (entry, the key at fault, words of what is allowed).
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "neither digest nor sums": ({"digest": None}, "digest", "sums file under `sums`"),
    "http sums": ({"digest": None, "sums": "http://example.org/S"}, "digest", "prove nothing"),
    "short digest": ({"digest": "sha256:abcd"}, "digest", "64"),
    "digest of the other length": ({"digest": "sha512:" + "ab" * 32}, "digest", "128"),
    "md5": ({"digest": "md5:" + "ab" * 16}, "digest", "sha256"),
    "not hexadecimal": ({"digest": "sha256:" + "xy" * 32}, "digest", "hexadecimal"),
    "file of the host": ({"source": "file:///srv/a.qcow2"}, "source", "allow_local_source"),
    "file without slashes": ({"source": "file:/srv/a.qcow2"}, "source", "allow_local_source"),
    "file of another host": ({"source": "file://h/a", "allow_local_source": True}, "source", "file:///"),
    "other scheme": ({"source": "ftp://example.org/a.qcow2"}, "source", "https://"),
    "folder": ({"source": "https://example.org/images/"}, "source", "not of a folder"),
    "no path": ({"source": "https://example.org"}, "source", "not of a folder"),
    "no host": ({"source": "https:///a.qcow2"}, "source", "https://"),
    "password": ({"source": "https://me:secret@example.org/a"}, "source", "without a user"),
    "port": ({"source": "https://example.org:99999/a"}, "source", "https://"),
    "space": ({"source": "https://example.org/a b"}, "source", "https://"),
    "backslash": ({"source": "https://example.org\\@127.0.0.1/a"}, "source", "https://"),
    "empty": ({"source": ""}, "source", "path"),
    "newline": ({"source": "images/a\nb"}, "source", "one line"),
    "sums of the host itself": ({"sums": "http://localhost/S"}, "sums", "allow_local_source"),
    "unknown format": ({"format": "vmdk"}, "format", "'qcow2' or 'raw'"),
    "property without prefix": ({"properties": {"x": "y"}}, "properties", "hw_ or os_"),
    "user": ({"login_user": "root; id"}, "login_user", "user name"),
}

LOCAL_HOSTS = [
    "localhost",
    "localhost.",
    "LOCALHOST",
    "db.localhost",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
]


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD)
def test_images_that_hold(given: dict[str, Any]) -> None:
    assert image(**given).name == "a"


@pytest.mark.parametrize(("given", "key", "allowed"), BAD.values(), ids=BAD)
def test_images_that_do_not(given: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(ValidationError) as caught:
        image(**given)
    (error,) = caught.value.errors()
    assert error["loc"][0] == key
    assert allowed in error["msg"]


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_addresses_of_the_host_itself_are_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="allow_local_source"):
        image(source=f"http://{host}/a.qcow2")


def test_hexadecimal_digits_become_small() -> None:
    assert image(digest="sha256:" + "AB" * 32).digest == SHA256


def test_a_wrong_source_hides_no_other_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        image(source="ftp://x/y", digest="sha256:1", format="vmdk", min_disk_gib=-1)
    assert {error["loc"] for error in caught.value.errors()} == {
        ("source",),
        ("digest",),
        ("format",),
        ("min_disk_gib",),
    }


@pytest.mark.parametrize(
    ("name", "user"),
    [("debian-12", "debian"), ("Ubuntu-24.04", "ubuntu"), ("rocky9", "rocky"), ("tiny", "root"), ("7zip", "root")],
)
def test_login_user_of_the_publisher(name: str, user: str) -> None:
    assert default_login_user(name) == user
    assert image(name=name).login_user == user
    assert image(name=name, login_user="me").login_user == "me"


def test_pull_item_makes_paths_absolute() -> None:
    assert image(source="images/a.raw", format="raw", digest=None).pull_item(Path("/cloud")) == {
        "name": "a",
        "source": "/cloud/images/a.raw",
        "format": "raw",
        "digest": None,
        "sums": None,
        "max_virtual_size_gib": 100,
        "allow_local_source": False,
        "insecure": False,
    }
    assert image(sums=SUMS, digest=None).pull_item(Path("/cloud"))["sums"] == SUMS
    assert image(source="/srv/a.qcow2").pull_item(Path("/cloud"))["source"] == "/srv/a.qcow2"


@pytest.mark.parametrize(
    ("line", "digest"),
    [
        (f"{'ab' * 32}  a.qcow2", SHA256),
        (f"{'AB' * 32} *a.qcow2", SHA256),
        (f"{'cd' * 64}  ./a.qcow2", SHA512),
        (f"SHA256 (a.qcow2) = {'ab' * 32}", SHA256),
        (f"{'ab' * 32}  b.qcow2", None),
        (f"{'ab' * 32}  xa.qcow2", None),
        (f"{'ab' * 20}  a.qcow2", None),
        ("a.qcow2", None),
    ],
)
def test_digest_in_sums(line: str, digest: str | None) -> None:
    assert digest_in_sums(f"# sums\n{'00' * 32}  other\n{line}\n", "a.qcow2") == digest
