# SPDX-License-Identifier: GPL-3.0-or-later
import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from berth.errors import InvalidInput
from berth.pki.authority import (
    Identity,
    clashes,
    is_issued_by,
    issue,
    new_authority,
    read_request,
    to_pem,
    why_renew,
)

H1 = Identity("h1", ("h1", "h1.example.org"), ("10.0.0.11", "fd00::11"))


@pytest.fixture
def authority(now):
    return new_authority("mycloud", now)


@pytest.fixture
def certificate(authority, requests, now):
    return issue(authority, read_request(requests[0], "h1"), H1, 397, now)


def server_verifier(authority, now, subject):
    return PolicyBuilder().store(Store([authority.certificate])).time(now).build_server_verifier(subject)


@pytest.mark.parametrize(
    "subject",
    [
        x509.DNSName("h1"),
        x509.DNSName("h1.example.org"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.11")),
        x509.IPAddress(ipaddress.ip_address("fd00::11")),
    ],
    ids=str,
)
def test_chain_verifies_for_every_name_and_address_of_the_host(authority, certificate, now, subject):
    chain = server_verifier(authority, now, subject).verify(certificate, [])
    assert chain[-1] == authority.certificate


@pytest.mark.parametrize(
    "subject",
    [x509.DNSName("h2"), x509.DNSName("admin"), x509.IPAddress(ipaddress.ip_address("10.0.0.12"))],
    ids=str,
)
def test_no_other_name_is_accepted(authority, certificate, now, subject):
    with pytest.raises(VerificationError):
        server_verifier(authority, now, subject).verify(certificate, [])


def test_it_serves_as_a_client_too(authority, certificate, now):
    verifier = PolicyBuilder().store(Store([authority.certificate])).time(now).build_client_verifier()
    assert {str(each.value) for each in verifier.verify(certificate, []).subjects} >= {"h1", "10.0.0.11"}


def test_another_ca_of_the_same_name_does_not_verify_it(certificate, now):
    other = new_authority("mycloud", now)
    assert not is_issued_by(certificate, other.certificate)
    with pytest.raises(VerificationError):
        server_verifier(other, now, x509.DNSName("h1")).verify(certificate, [])


def test_two_cas_of_a_cloud_have_different_subjects(authority, now):
    assert new_authority("mycloud", now).certificate.subject != authority.certificate.subject


def test_it_ends_after_its_days_and_a_slow_clock_may_use_it_at_once(authority, certificate, now):
    for moment in (now - timedelta(minutes=30), now + timedelta(days=396)):
        assert server_verifier(authority, moment, x509.DNSName("h1")).verify(certificate, [])
    with pytest.raises(VerificationError):
        server_verifier(authority, now + timedelta(days=398), x509.DNSName("h1")).verify(certificate, [])


def test_it_never_outlives_its_ca(requests, now):
    short = new_authority("mycloud", now, days=10)
    certificate = issue(short, read_request(requests[0], "h1"), H1, 397, now)
    assert certificate.not_valid_after_utc == short.certificate.not_valid_after_utc


def test_a_request_decides_nothing_but_the_key(authority, certificate):
    assert certificate.subject.rfc4514_string() == "CN=h1"
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


def request_of(key):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        pytest.param(lambda: "no request", "cannot be read", id="garbage"),
        pytest.param(lambda: request_of(rsa.generate_private_key(65537, 1024)), "2048", id="short key"),
        pytest.param(lambda: request_of(ec.generate_private_key(ec.SECP256R1())), "not RSA", id="other kind of key"),
    ],
)
def test_requests_that_are_refused(pem, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        read_request(pem(), "host h1, libvirt")
    assert "host h1, libvirt" in caught.value.message


def test_a_request_signed_by_another_key_is_refused(requests):
    first, second = (x509.load_pem_x509_csr(each.encode()) for each in requests)
    der = bytearray(first.public_bytes(serialization.Encoding.DER))
    der[-256:] = second.public_bytes(serialization.Encoding.DER)[-256:]
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(InvalidInput, match="not signed by its own key"):
        read_request(forged, "h1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({}, None, id="serves"),
        pytest.param({"pem": ""}, "none yet", id="none"),
        pytest.param(
            {"pem": "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"}, "cannot be read", id="broken"
        ),
        pytest.param({"request": 1}, "key changed", id="other key"),
        pytest.param({"issuer": "other"}, "another CA", id="other CA"),
        pytest.param({"identity": Identity("h1", ("h1",), ("10.0.0.11",))}, "names or addresses", id="fewer names"),
        pytest.param(
            {"identity": Identity("h9", H1.names, H1.addresses)}, "names or addresses", id="another common name"
        ),
        pytest.param({"after_days": 366}, None, id="31 days left"),
        pytest.param({"after_days": 368}, "28 days are left", id="28 days left"),
        pytest.param({"after_days": 500}, "0 days are left", id="over"),
    ],
)
def test_why_renew(authority, certificate, requests, now, change, reason):
    issuer = new_authority("other", now) if "issuer" in change else authority
    found = why_renew(
        change.get("pem", to_pem(certificate)),
        read_request(requests[change.get("request", 0)], "h1"),
        change.get("identity", H1),
        issuer.certificate,
        renew_days=30,
        now=now + timedelta(days=change.get("after_days", 0), hours=1),
    )
    assert found == reason if reason is None else reason in found


def test_the_order_of_names_does_not_renew(authority, certificate, requests, now):
    turned = Identity("h1", H1.names[::-1], ("fd00:0::0:11", "10.0.0.11"))
    request = read_request(requests[0], "h1")
    assert why_renew(to_pem(certificate), request, turned, authority.certificate, renew_days=30, now=now) is None


def test_near_the_end_of_the_ca_nothing_is_renewed_over_and_over(requests, now):
    short = new_authority("mycloud", now, days=10)
    request = read_request(requests[0], "h1")
    pem = to_pem(issue(short, request, H1, 397, now))
    assert why_renew(pem, request, H1, short.certificate, renew_days=30, now=now) is None


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        pytest.param(Identity("h1", ("h1",)), [], id="good"),
        pytest.param(Identity("h1 qemu", ("h1",)), [], id="good with purpose"),
        pytest.param(Identity("h*", ("h1",)), ["certificate name 'h*'"], id="wildcard in the common name"),
        pytest.param(Identity("h" * 65, ("h1",)), ["at most 64"], id="long common name"),
        pytest.param(Identity("h1", ("*.example.org",)), ["'*.example.org'"], id="wildcard name"),
        pytest.param(Identity("h1", ("a\nb", "ok"), ("10.0.0",)), ["'a\\nb'", "'10.0.0'"], id="two mistakes"),
        pytest.param(Identity("h1"), ["at least one"], id="nothing to dial"),
    ],
)
def test_identity_problems(identity, words):
    problems = [problem.message for problem in identity.problems()]
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_two_hosts_may_not_claim_one_name_but_one_host_may_twice():
    h1 = [Identity("h1", ("h1",), ("10.0.0.1",)), Identity("h1 qemu", ("h1",), ("10.0.0.1",))]
    assert clashes({"h1": h1, "h2": [Identity("h2", ("h2",), ("10.0.0.2",))]}) == []
    found = clashes({"h1": h1, "h2": [Identity("h2", ("H1",), ("10.0.0.1",))]})
    assert sorted(problem.where for problem in found) == ["10.0.0.1", "H1"]
    assert all("both h1 and h2" in problem.message for problem in found)
