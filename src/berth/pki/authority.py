# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's certificate authority as pure functions: keys and requests in, certificates out. No files, no clock.

The profile of the certificates is RFC 5280's; what libvirt and QEMU check beyond it is in their own documents ("TLS
setup" of libvirt, "TLS setup for network services" of QEMU): a CA flag and keyCertSign on the authority,
digitalSignature and keyEncipherment with the matching extended use on a host, and the dialled name in the SAN.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from berth.errors import InvalidInput, Problem

CA_DAYS = 3650
# A host whose clock is a little behind the controller's must not find its certificate "not yet valid".
BACKDATE = timedelta(hours=1)
SMALLEST_RSA_BITS = 2048
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
# RFC 5280, appendix A.1: ub-common-name.
LONGEST_COMMON_NAME = 64
COMMON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*( [a-z]+)?\Z")

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """A CA that can sign: its certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True)
class Identity:
    """What a certificate says about a host. The controller decides it; the host's request only proves its key."""

    common_name: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def problems(self) -> list[Problem]:
        """Returns every mistake in the identity."""
        found = []
        if not COMMON_NAME.match(self.common_name) or len(self.common_name) > LONGEST_COMMON_NAME:
            allowed = f"letters, digits, dot, dash and underscore, at most {LONGEST_COMMON_NAME}"
            found.append(Problem(self.common_name, f"certificate name {self.common_name!r}; allowed: {allowed}"))
        found += [
            Problem(self.common_name, f"host name {name!r} is not one that a certificate can carry")
            for name in self.names
            if not NAME.match(name)
        ]
        found += [
            Problem(self.common_name, f"{address!r} is not an IP address")
            for address in self.addresses
            if not _is_address(address)
        ]
        if not self.names and not self.addresses:
            found.append(Problem(self.common_name, "a certificate needs at least one host name or address"))
        return found


def new_authority(name: str, now: datetime, days: int = CA_DAYS) -> Authority:
    """Returns a fresh self-signed CA on P-384. Its subject is unique: two CAs of one cloud can be trusted at once."""
    key = ec.generate_private_key(ec.SECP384R1())
    serial = x509.random_serial_number()
    # GnuTLS looks an issuer up by its subject first; the serial's head keeps an old and a new CA apart.
    label = f"{name[:40]} fleet CA {serial >> 128:x}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    builder = _validity(x509.CertificateBuilder(), now, timedelta(days=days))
    certificate = (
        builder.subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    return Authority(certificate, key)


def read_request(pem: str, whose: str) -> x509.CertificateSigningRequest:
    """Returns a host's request, its signature checked. Raises InvalidInput naming `whose` it is."""
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
    except ValueError as error:
        raise InvalidInput(f"{whose}: the certificate request cannot be read: {error}") from error
    key = request.public_key()
    if not request.is_signature_valid:
        raise InvalidInput(f"{whose}: the certificate request is not signed by its own key")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_RSA_BITS:
        raise InvalidInput(
            f"{whose}: the certificate request is for a key that is not RSA of {SMALLEST_RSA_BITS} bits or more",
            hint="remove the key under /etc/berth/pki on that host and prepare it again",
        )
    return request


def issue(
    authority: Authority, request: x509.CertificateSigningRequest, identity: Identity, days: int, now: datetime
) -> x509.Certificate:
    """Returns a certificate for the request's key. It serves as server and as client, and never outlives its CA.

    Nothing but the public key is taken from the request: a host cannot ask for the name of another.
    """
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
    ends = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    issuer_key = authority.key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(identity))
        .issuer_name(authority.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, authority.certificate.not_valid_before_utc))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .sign(authority.key, hashes.SHA384())
    )


def why_renew(
    pem: str,
    request: x509.CertificateSigningRequest,
    identity: Identity,
    issuer: x509.Certificate,
    *,
    renew_days: int,
    now: datetime,
) -> str | None:
    """Returns why a host needs another certificate than the one it has, or None when that one still serves."""
    if not pem.strip():
        return "it has none yet"
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError:
        return "the one it has cannot be read"
    if certificate.public_key() != request.public_key():
        return "its key changed"
    if not is_issued_by(certificate, issuer):
        return "it was signed by another CA"
    if certificate.subject != _subject(identity) or _alternatives(certificate) != _wanted(identity):
        return "its names or addresses changed"
    left = certificate.not_valid_after_utc - now
    # Close to the CA's own end a new certificate would end on the same day: renewing it again brings nothing.
    if left < timedelta(days=renew_days) and certificate.not_valid_after_utc < issuer.not_valid_after_utc:
        return f"{max(left.days, 0)} days are left"
    return None


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Returns whether the issuer's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def to_pem(certificate: x509.Certificate) -> str:
    """Returns the certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def fingerprint(certificate: x509.Certificate) -> str:
    """Returns the SHA-256 of the certificate in hex, as `openssl x509 -fingerprint -sha256` shows it without colons."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def clashes(identities: Mapping[str, Sequence[Identity]]) -> list[Problem]:
    """Returns a problem for each name or address that two hosts claim: each could then pose as the other.

    `identities` maps a host to what its certificates say.
    """
    owners: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for host, claims in identities.items():
        for claim in (text for each in claims for text in (each.common_name, *each.names, *each.addresses)):
            owner = owners.setdefault(claim.lower(), host)
            if owner != host:
                problems[claim] = Problem(claim, f"claimed by both {owner} and {host}")
    return list(problems.values())


def _subject(identity: Identity) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.common_name)])


def _wanted(identity: Identity) -> set[str]:
    return {*identity.names, *(str(ipaddress.ip_address(address)) for address in identity.addresses)}


def _alternatives(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def _validity(builder: x509.CertificateBuilder, now: datetime, length: timedelta) -> x509.CertificateBuilder:
    return builder.not_valid_before(now - BACKDATE).not_valid_after(now + length)


def _key_usage(**uses: bool) -> x509.KeyUsage:
    fields = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: uses.get(name, False) for name in fields})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
