# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CA's tests share: a clock, and keys, which take long to make."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_request(bits=2048):
    """Returns a host's request in PEM, for a fresh key and a name that must not matter."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def now():
    return NOW


@pytest.fixture(scope="session")
def requests():
    """Returns the requests of two hosts."""
    return [make_request(), make_request()]


class PlainSeal:
    """No password."""

    def is_active(self):
        return False

    def is_sealed(self, data):
        return data.startswith(b"sealed:")

    def close(self, data):
        raise AssertionError("nothing to seal with")

    def open(self, data):
        raise AssertionError("nothing to open with")


class ReversingSeal(PlainSeal):
    """A password that turns the bytes round."""

    def is_active(self):
        return True

    def close(self, data):
        return b"sealed:" + data[::-1]

    def open(self, data):
        return data.removeprefix(b"sealed:")[::-1]


@pytest.fixture
def plain_seal():
    return PlainSeal()


@pytest.fixture
def reversing_seal():
    return ReversingSeal()
