# SPDX-License-Identifier: GPL-3.0-or-later
"""Which URLs are allowed."""

from __future__ import annotations

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import REQUEST, ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_url import Policy, file_path, has_scheme

ALLOWED = [
    "https://cloud.debian.org/images/x.qcow2",
    "http://192.168.1.10:8080/x.qcow2",
    "https://[2001:db8::1]/x.qcow2",
    "https://localhost.example.org/x",
]
REFUSED = {
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.org/x",
    "data": "data:,x",
    "gopher": "gopher://example.org/x",
    "no host": "https:///x",
    "password": "https://user:secret@example.org/x",
    "bad port": "https://example.org:99999/x",
    "newline": "https://example.org/x\nHost: y",
    "space": "https://example.org/a b",
    "localhost": "http://localhost/x",
    "localhost with a dot": "http://LOCALHOST./x",
    "below localhost": "http://a.localhost/x",
    "loopback": "http://127.8.9.10/x",
    "loopback in short": "http://127.1/x",
    "loopback as a number": "http://2130706433/x",
    "loopback in hexadecimal": "http://0x7f.0.0.1/x",
    "loopback of IPv6": "http://[::1]/x",
    "loopback mapped": "http://[::ffff:127.0.0.1]/x",
    "unspecified": "http://0.0.0.0/x",
    "cloud metadata": "http://169.254.169.254/latest/meta-data",
    "link local of IPv6": "http://[fe80::1]/x",
    "link local with a zone": "http://[fe80::1%25eth0]/x",
    "multicast": "http://224.0.0.1/x",
}


@pytest.mark.parametrize("url", ALLOWED)
def test_allowed(url: str) -> None:
    assert Policy().check(url).hostname


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(ImageFailure) as caught:
        Policy().check(REFUSED[name])
    assert (caught.value.kind, caught.value.reason) == (REQUEST, "url_refused")
    assert "secret" not in caught.value.message


def test_local_addresses_when_allowed() -> None:
    assert Policy(allow_local=True).check("http://127.0.0.1:8000/x").port == 8000


@pytest.mark.parametrize(
    ("url", "path"), [("file:///a/b%20c", "/a/b c"), ("file://localhost/a", "/a"), ("FILE:///a", "/a")]
)
def test_file_paths(url: str, path: str) -> None:
    assert has_scheme(url)
    assert file_path(url) == path


@pytest.mark.parametrize("url", ["file://other/a", "file:a", "file:///a%00b", "file:"])
def test_file_urls_that_are_refused(url: str) -> None:
    assert has_scheme(url)
    with pytest.raises(ImageFailure, match="absolute path on the host"):
        file_path(url)


@pytest.mark.parametrize("path", ["/a/b", "a/b.qcow2", "~/a", "a:b"])
def test_paths_of_the_controller(path: str) -> None:
    assert not has_scheme(path)
