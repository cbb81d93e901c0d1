# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from berth.errors import InvalidInput
from berth.pki.authority import Identity
from berth.pki.fleet import Policy, Step, Wish, retire, serve
from berth.pki.store import CaStore


@pytest.fixture
def store(tmp_path, plain_seal):
    return CaStore(tmp_path / "secrets", plain_seal, "mycloud")


@pytest.fixture
def wishes(requests):
    def make(certificates=None, names=("h1", "h2")):
        given = certificates or {}
        return {
            f"h{number}": [
                Wish(
                    "libvirt",
                    Identity(names[number - 1], (names[number - 1],), (f"10.0.0.{number}",)),
                    requests[number - 1],
                    given.get(f"h{number}", {}).get("libvirt", {}).get("certificate", ""),
                )
            ]
            for number in (1, 2)
        }

    return make


def test_signs_for_all_then_for_nobody(store, wishes, now):
    first = serve(store, Step.PRESENT, wishes(), Policy(), now)
    assert first["changed"]
    assert first["phase"] == "settled"
    entry = first["certificates"]["h1"]["libvirt"]
    assert (entry["changed"], entry["days_left"]) == (True, 397)
    trust = x509.load_pem_x509_certificates(first["trust"].encode())
    for host, each in first["certificates"].items():
        certificate = x509.load_pem_x509_certificate(each["libvirt"]["certificate"].encode())
        verifier = PolicyBuilder().store(Store(trust)).time(now).build_server_verifier(x509.DNSName(host))
        verifier.verify(certificate, [])

    second = serve(store, Step.PRESENT, wishes(first["certificates"]), Policy(), now)
    assert not second["changed"]
    assert second["certificates"]["h1"]["libvirt"]["certificate"] == entry["certificate"]
    assert second["certificates"]["h1"]["libvirt"]["reason"] is None


def test_force_signs_again(store, wishes, now):
    first = serve(store, Step.PRESENT, wishes(), Policy(), now)
    again = serve(store, Step.PRESENT, wishes(first["certificates"]), Policy(force=True), now)
    assert (
        again["certificates"]["h1"]["libvirt"]["certificate"] != first["certificates"]["h1"]["libvirt"]["certificate"]
    )


def test_only_what_nears_its_end_is_renewed(store, wishes, now):
    first = serve(store, Step.PRESENT, wishes(), Policy(days=100), now)
    kept = first["certificates"]
    longer = serve(store, Step.PRESENT, {"h2": wishes()["h2"]}, Policy(days=397), now)["certificates"]
    late = serve(store, Step.PRESENT, wishes({**kept, **longer}), Policy(), now + timedelta(days=80))
    reasons = {host: each["libvirt"]["reason"] for host, each in late["certificates"].items()}
    assert reasons == {"h1": "20 days are left", "h2": None}


def test_a_dry_run_writes_nothing_and_says_why(store, wishes, now):
    dry = serve(store, Step.PRESENT, wishes(), Policy(check=True), now)
    assert dry["changed"]
    assert dry["certificates"]["h1"]["libvirt"]["reason"] == "there is no CA yet"
    assert not store.folder.exists()
    first = serve(store, Step.PRESENT, wishes(), Policy(), now)
    before = sorted(path.name for path in store.folder.iterdir())
    late = serve(store, Step.PRESENT, wishes(first["certificates"]), Policy(check=True), now + timedelta(days=380))
    assert late["certificates"]["h1"]["libvirt"]["certificate"] == ""
    assert late["certificates"]["h1"]["libvirt"]["reason"] == "17 days are left"
    assert serve(store, Step.INTRODUCED, {}, Policy(check=True), now)["changed"]
    assert sorted(path.name for path in store.folder.iterdir()) == before


def test_every_mistake_is_named_and_nothing_is_signed(store, wishes, now):
    with pytest.raises(InvalidInput) as caught:
        serve(store, Step.PRESENT, wishes(names=("h1", "h*1")), Policy(), now)
    assert "'h*1'" in str(caught.value.to_dict())
    with pytest.raises(InvalidInput, match="both h1 and h2"):
        serve(store, Step.PRESENT, wishes(names=("h1", "h1")), Policy(), now)
    assert not store.folder.exists()


def test_the_end_of_the_ca_is_announced(store, wishes, now):
    serve(store, Step.PRESENT, wishes(), Policy(), now)
    assert serve(store, Step.PRESENT, {}, Policy(), now)["warnings"] == []
    late = serve(store, Step.PRESENT, {}, Policy(), now + timedelta(days=3600))
    assert "50 days" in late["warnings"][0]


def test_a_new_ca_comes_with_an_overlap_until_every_host_has_its_certificate(store, wishes, now):
    first = serve(store, Step.PRESENT, wishes(), Policy(), now)
    introduced = serve(store, Step.INTRODUCED, {}, Policy(), now)
    assert introduced["trust"].count("BEGIN CERTIFICATE") == 2
    assert not serve(store, Step.PRESENT, wishes(first["certificates"]), Policy(), now)["changed"]

    promoted = serve(store, Step.PROMOTED, {}, Policy(), now)
    assert promoted["trust"] == introduced["trust"]
    signed = serve(store, Step.PRESENT, wishes(first["certificates"]), Policy(), now)
    assert {each["libvirt"]["reason"] for each in signed["certificates"].values()} == {"it was signed by another CA"}

    new = {host: [each["libvirt"]["certificate"]] for host, each in signed["certificates"].items()}
    old_h2 = [first["certificates"]["h2"]["libvirt"]["certificate"]]
    for shown in ({"h1": new["h1"]}, {**new, "h2": old_h2}, {**new, "h2": []}, {**new, "h2": ["rubbish"]}):
        kept = retire(store, shown, ["h1", "h2"], check=False)
        assert (kept["changed"], kept["waiting"]) == (False, ["h2"])
        assert kept["trust"] == introduced["trust"]
    assert retire(store, new, ["h1", "h2"], check=True)["changed"]
    done = retire(store, new, ["h1", "h2"], check=False)
    assert (done["changed"], done["waiting"], done["phase"]) == (True, [], "settled")
    assert done["trust"].count("BEGIN CERTIFICATE") == 1
    assert not retire(store, {}, ["h1", "h2"], check=False)["changed"]
    assert not serve(store, Step.PRESENT, wishes(signed["certificates"]), Policy(), now)["changed"]
