# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run decides about the fleet's certificates: who gets a new one and why, and which CAs to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509

from berth.errors import InvalidInput, Problem
from berth.pki.authority import (
    Identity,
    clashes,
    fingerprint,
    is_issued_by,
    issue,
    read_request,
    to_pem,
    why_renew,
)
from berth.pki.store import CaStore, Phase

CA_WARNING_DAYS = 180


class Step(StrEnum):
    """What is asked of the CA: see berth.pki.store for the steps of a change."""

    PRESENT = "present"
    INTRODUCED = "introduced"
    PROMOTED = "promoted"
    RETIRED = "retired"


@dataclass(frozen=True)
class Wish:
    """One certificate of one host. `certificate` is the PEM it has now, empty when it has none."""

    purpose: str
    identity: Identity
    request: str
    certificate: str = ""


@dataclass(frozen=True)
class Policy:
    """How long host certificates live and when they are renewed.

    `force` signs again what would still serve; `check` decides without writing anything.
    """

    days: int = 397
    renew_days: int = 30
    force: bool = False
    check: bool = False


def serve(
    store: CaStore, step: Step, wishes: Mapping[str, Sequence[Wish]], policy: Policy, now: datetime
) -> dict[str, Any]:
    """Carries out `step` and signs what must be signed. Returns, JSON-ready:

    `changed`; `phase`; `trust` (PEM of every CA that hosts must trust, oldest first; empty when a dry run finds no
    CA); `ca` (subject, fingerprint, not_after); `certificates`: host -> purpose -> certificate, changed,
    reason, not_after (seconds since the epoch), days_left; `warnings`.
    Raises InvalidInput with every mistake in the wishes before anything is signed.
    """
    _validate(wishes)
    if policy.check:
        return _report(store, _would_change(store, step), wishes, policy, now)
    with store.locked():
        changed = store.ensure(now)
        if step is Step.INTRODUCED:
            changed |= store.introduce(now)
        elif step is Step.PROMOTED:
            changed |= store.promote()
        return _report(store, changed, wishes, policy, now)


def retire(
    store: CaStore, certificates: Mapping[str, Sequence[str]], fleet: Sequence[str], *, check: bool
) -> dict[str, Any]:
    """Ends the trust in the CA before, unless a host of the fleet still has no certificate of the new one.

    `certificates` maps each host that answered to the PEM of its certificates. Returns changed, phase, trust and
    `waiting`: the hosts for whose sake both CAs stay trusted.
    """
    if store.phase is Phase.NONE:
        return {"changed": False, "phase": "none", "trust": "", "waiting": []}
    with store.locked():
        issuer = store.issuer()
        waiting = [] if store.phase is not Phase.PROMOTED else _waiting(certificates, fleet, issuer)
        ready = store.phase is Phase.PROMOTED and not waiting
        changed = ready if check else ready and store.retire()
        return {"changed": changed, "phase": str(store.phase), "trust": _trust(store), "waiting": waiting}


def _waiting(certificates: Mapping[str, Sequence[str]], fleet: Sequence[str], issuer: x509.Certificate) -> list[str]:
    def is_new(pem: str) -> bool:
        try:
            return is_issued_by(x509.load_pem_x509_certificate(pem.encode("ascii")), issuer)
        except ValueError:
            return False

    return [host for host in fleet if not certificates.get(host) or not all(map(is_new, certificates[host]))]


def _validate(wishes: Mapping[str, Sequence[Wish]]) -> None:
    problems: list[Problem] = []
    for host, each in wishes.items():
        problems += [Problem(host, problem.message) for wish in each for problem in wish.identity.problems()]
    problems += clashes({host: [wish.identity for wish in each] for host, each in wishes.items()})
    if problems:
        raise InvalidInput.from_problems(
            "the fleet's certificates", problems, hint="names and addresses come from the inventory: mend them there"
        )


def _would_change(store: CaStore, step: Step) -> bool:
    before = {Step.INTRODUCED: Phase.SETTLED, Step.PROMOTED: Phase.INTRODUCED}
    return store.phase is Phase.NONE or store.phase is before.get(step)


def _report(
    store: CaStore, changed: bool, wishes: Mapping[str, Sequence[Wish]], policy: Policy, now: datetime
) -> dict[str, Any]:
    if store.phase is Phase.NONE:
        missing = {
            "certificate": "",
            "changed": True,
            "reason": "there is no CA yet",
            "not_after": None,
            "days_left": None,
        }
        certificates = {host: {wish.purpose: dict(missing) for wish in each} for host, each in wishes.items()}
        return {"changed": True, "phase": "none", "trust": "", "ca": {}, "certificates": certificates, "warnings": []}
    certificates = {
        host: {wish.purpose: _serve_one(store, host, wish, policy, now) for wish in each}
        for host, each in wishes.items()
    }
    signed = any(entry["changed"] for each in certificates.values() for entry in each.values())
    authority = store.issuer()
    ends = authority.not_valid_after_utc
    days = (ends - now).days
    warnings = (
        [f"the fleet CA ends in {days} days: rotate it with berth_rotate_ca=true"] if days < CA_WARNING_DAYS else []
    )
    return {
        "changed": changed or signed,
        "phase": str(store.phase),
        "trust": _trust(store),
        "ca": {
            "subject": authority.subject.rfc4514_string(),
            "fingerprint": fingerprint(authority),
            "not_after": ends.timestamp(),
        },
        "certificates": certificates,
        "warnings": warnings,
    }


def _serve_one(store: CaStore, host: str, wish: Wish, policy: Policy, now: datetime) -> dict[str, Any]:
    issuer = store.issuer()
    if not wish.request:  # a dry run on a host that has no key yet
        return {"certificate": "", "changed": True, "reason": "it has no key yet", "not_after": None, "days_left": None}
    request = read_request(wish.request, f"host {host}, {wish.purpose}")
    reason = why_renew(wish.certificate, request, wish.identity, issuer, renew_days=policy.renew_days, now=now)
    if reason is None and policy.force:
        reason = "a new one was asked for"
    if reason and not policy.check:
        certificate = issue(store.current(), request, wish.identity, policy.days, now)
        return _entry(certificate, reason, now)
    if reason:
        return {"certificate": "", "changed": True, "reason": reason, "not_after": None, "days_left": None}
    return _entry(x509.load_pem_x509_certificate(wish.certificate.encode("ascii")), None, now)


def _entry(certificate: x509.Certificate, reason: str | None, now: datetime) -> dict[str, Any]:
    ends = certificate.not_valid_after_utc
    return {
        "certificate": to_pem(certificate),
        "changed": reason is not None,
        "reason": reason,
        "not_after": ends.timestamp(),
        "days_left": (ends - now).days,
    }


def _trust(store: CaStore) -> str:
    return "".join(to_pem(certificate) for certificate in store.trusted())
