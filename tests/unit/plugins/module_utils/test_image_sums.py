# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums files as publishers write them."""

from __future__ import annotations

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import REQUEST, ImageFailure
from ansible_collections.berth.kvm.plugins.module_utils.image_sums import digest_of, parse_digest

A, B, LONG = "a1" * 32, "b2" * 32, "c3" * 64
SIGNED = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# x.qcow2: 123 bytes
SHA256 (x.qcow2) = {A}
- -dashed.qcow2 is no entry
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEE
-----END PGP SIGNATURE-----
"""

FOUND = {
    "coreutils": (f"{B}  y.qcow2\n{A}  x.qcow2\n", f"sha256:{A}"),
    "binary marker": (f"{A} *x.qcow2\n", f"sha256:{A}"),
    "sha512": (f"{LONG}  x.qcow2\n", f"sha512:{LONG}"),
    "the stronger of two": (f"{A}  x.qcow2\n{LONG}  x.qcow2\n", f"sha512:{LONG}"),
    "upper case": (f"{A.upper()}  x.qcow2\n", f"sha256:{A}"),
    "with a folder": (f"{A}  ./images/x.qcow2\n", f"sha256:{A}"),
    "bsd": (f"SHA512 (x.qcow2) = {LONG}\n", f"sha512:{LONG}"),
    "bsd among weaker ones": (f"MD5 (x.qcow2) = {'d' * 32}\nSHA256 (x.qcow2) = {A}\n", f"sha256:{A}"),
    "clear-signed": (SIGNED, f"sha256:{A}"),
    "carriage returns": (f"{A}  x.qcow2\r\n{B}  y\r\n", f"sha256:{A}"),
    "the same line twice": (f"{A}  x.qcow2\n{A} *x.qcow2\n", f"sha256:{A}"),
    "a tab": (f"{A}\tx.qcow2", f"sha256:{A}"),
}
MISSING = {
    "nothing": ("", "no line for x.qcow2; it lists 0 files"),
    "near names": (f"{A}  x.qcow2.xz\n{B}  x.raw\n", "near names there: x.qcow2.xz, x.raw"),
    "a name that only ends so": (f"{A}  not-x.qcow2\n", "no line for"),
    "only md5": (f"{'d' * 32}  x.qcow2\n", "too weak"),
    "only sha1": (f"SHA1 (x.qcow2) = {'d' * 40}\n", "too weak"),
    "two answers": (f"{A}  x.qcow2\n{B}  x.qcow2\n", "2 times with different sha256"),
    "a web page": ("<html>not found</html>", "it lists 0 files"),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    text, expected = FOUND[name]
    assert str(digest_of(text, "x.qcow2", "SUMS")) == expected


@pytest.mark.parametrize("name", MISSING)
def test_not_found(name: str) -> None:
    text, expected = MISSING[name]
    with pytest.raises(ImageFailure) as caught:
        digest_of(text, "x.qcow2", "https://example.org/SUMS")
    assert (caught.value.kind, caught.value.reason) == (REQUEST, "sums")
    assert expected in caught.value.message
    assert "https://example.org/SUMS" in caught.value.message


def test_digests() -> None:
    assert str(parse_digest(f" SHA256:{A.upper()} ")) == f"sha256:{A}"
    assert parse_digest(f"sha512:{LONG}").algorithm == "sha512"


@pytest.mark.parametrize(
    "text", ["", A, f"sha256:{A}0", "sha256:" + "g" * 64, f"md5:{'a' * 32}", f"sha512:{A}", "sha256:../x"]
)
def test_digests_that_are_none(text: str) -> None:
    with pytest.raises(ImageFailure, match="allowed are sha256"):
        parse_digest(text)
