# SPDX-License-Identifier: GPL-3.0-or-later
"""Where ledger and hosts differ: guests elsewhere, twice or nowhere, and what nobody owns any more. Pure.

Only hosts that answered are looked at. What a verb works on, or has changed since the facts were collected, is left
out: it is on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from berth.ledger.looks import collected_s
from berth.ledger.model import VmState
from berth.ledger.rows import GuestRow, HostRow
from berth.verbs.copies import ON
from berth.verbs.observe import MARGIN_S

# Looks of one refresh: what one host showed then is not outdone by what another showed.
SAME_LOOK_S = 300.0
# A guest in these has no domain to be missed.
_WITHOUT_DOMAIN = (VmState.BUILDING, VmState.ERROR, VmState.SHELVED_OFFLOADED)


class Kind(StrEnum):
    """What differs."""

    TWIN = "twin"
    MOVED = "moved"
    NO_DOMAIN = "no_domain"
    ORPHAN_DOMAIN = "orphan_domain"
    ORPHAN_DISK = "orphan_disk"
    ORPHAN_SEED = "orphan_seed"
    ORPHAN_FOLDER = "orphan_folder"
    ORPHAN_CONSOLE = "orphan_console"
    UNUSED_IMAGE = "unused_image"
    ADDRESS_CONFLICT = "address_conflict"


FILES = frozenset({Kind.ORPHAN_DISK, Kind.ORPHAN_SEED, Kind.ORPHAN_FOLDER, Kind.ORPHAN_CONSOLE})


class Mend(StrEnum):
    """Who may mend it. Safe: nothing can be lost. Ask: a person must say so. None: no program can know."""

    SAFE = "safe"
    ASK = "ask"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `subject` is the guest's UUID or the file it is about."""

    kind: Kind
    host: str
    subject: str
    found: str
    fix: str
    mend: Mend = Mend.NONE
    serious: bool = False

    @property
    def key(self) -> str:
        """Returns what names it from one look to the next."""
        return f"{self.kind}:{self.host}:{self.subject}"


@dataclass(frozen=True)
class Seen:
    """What is compared. `guests` are all there ever were; `wanted_images` the cache files that the catalog means."""

    cloud: str
    hosts: Sequence[HostRow]
    guests: Sequence[GuestRow]
    wanted_images: Collection[str] = field(default_factory=frozenset)


def differences(seen: Seen) -> list[Difference]:
    """Returns everything that differs, worst first."""
    view = _View(seen)
    found = [*_guests(view), *_domains(view), *_files(view), *_images(view), *_addresses(view)]
    return sorted(found, key=lambda each: (not each.serious, list(Kind).index(each.kind), each.host, each.subject))


def guest_differences(seen: Seen) -> list[Difference]:
    """Returns the guests that are elsewhere, twice or nowhere. Of guests that are gone nothing needs to be known."""
    return list(_guests(_View(seen)))


class _View:
    """The same, by what is asked for."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.hosts = {host.name: host for host in seen.hosts if answers(host)}
        self.live = {row.uuid: row for row in seen.guests if row.deleted_at is None}
        self.gone = {row.uuid: row for row in seen.guests if row.deleted_at is not None}
        self.copies: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for name in self.hosts:
            for domain in self.domains(name):
                self.copies.setdefault(str(domain["uuid"]), []).append((name, domain))

    def domains(self, host: str) -> list[Mapping[str, Any]]:
        return list((self.hosts[host].facts or {}).get("domains") or ())

    def files(self, host: str, what: str) -> list[Any]:
        return list(((self.hosts[host].facts or {}).get("files") or {}).get(what) or ())

    def users(self, uuid: str, host: str) -> list[str]:
        """Returns the domains that may live on a guest's files on a host, besides its own domain there.

        Hosts may share their folders, so its copies elsewhere count, and what silent hosts showed last.
        """
        found = []
        for row in self.seen.hosts:
            for domain in (row.facts or {}).get("domains") or ():
                copy = domain["uuid"] == uuid
                if (copy and row.name != host) or (not copy and any(f"/{uuid}/" in path for path in _disks(domain))):
                    found.append(f"{domain['name']} on {row.name}")
        return found

    def on_its_way(self, row: GuestRow, hosts: Collection[str]) -> bool:
        """Returns whether a verb works on the guest, or did after one of these hosts was looked at."""
        if row.task_state is not None or row.vm_state is VmState.BUILDING:
            return True
        looked = [collected_s(self.hosts[host].facts or {}) for host in hosts if host in self.hosts]
        return any(at is not None and row.updated_at > at - MARGIN_S for at in looked)

    def looked_together(self, one: str, other: str) -> bool:
        """Returns whether the first host was looked at no more than SAME_LOOK_S before the other."""
        first, second = (collected_s(self.hosts[name].facts or {}) for name in (one, other))
        return first is not None and second is not None and first >= second - SAME_LOOK_S

    def is_ours(self, uuid: str, domain: Mapping[str, Any]) -> bool:
        record = domain.get("record") or {}
        return uuid in self.live or uuid in self.gone or record.get("cloud") == self.seen.cloud


def answers(host: HostRow) -> bool:
    """Returns whether what a host last said can be relied on."""
    return host.facts is not None and host.unreachable_message is None and not host.quarantine and host.in_inventory


def _guests(view: _View) -> Iterator[Difference]:
    for row in view.live.values():
        copies = view.copies.get(row.uuid, [])
        where = {name for name, _domain in copies}
        if view.on_its_way(row, {*where, str(row.host)}):
            continue
        told = ", ".join(f"{name} ({domain['state']})" for name, domain in copies)
        if len(copies) > 1:
            yield from _twins(view, row, copies, told)
        elif copies and row.host not in where:
            yield _moved(view, row, copies[0][0], told)
        elif not copies and row.host in view.hosts and row.vm_state not in _WITHOUT_DOMAIN:
            found = f"guest {row.name} is {row.vm_state} by the ledger, its host has no such domain"
            fix = f"restore it from a backup, or forget it: `berth delete {row.name}`"
            yield Difference(Kind.NO_DOMAIN, str(row.host), row.uuid, found, fix)


def _twins(
    view: _View, row: GuestRow, copies: Sequence[tuple[str, Mapping[str, Any]]], told: str
) -> Iterator[Difference]:
    """One difference per copy that is not where the ledger has the guest; never mended while it may be the only one."""
    on = [name for name, domain in copies if domain["state"] in ON]
    here = {name for name, _domain in copies}
    for name, domain in copies:
        if name == row.host:
            continue
        found = f"guest {row.name} is on several hosts: {told}"
        # With the firmware's variables and a TPM's state go files; on shared storage they would be the guest's own.
        record = domain.get("record") or {}
        has_state = record.get("firmware") == "efi" or bool((record.get("properties") or {}).get("hw_tpm_model"))
        if row.host in here and view.looked_together(row.host, name) and domain["state"] not in ON and not has_state:
            fix = f"remove the definition on {name}, its files stay: `berth doctor --fix`"
            yield Difference(Kind.TWIN, name, row.uuid, found, fix, Mend.ASK, serious=len(on) > 1)
        else:
            fix = f"stop the wrong one by hand (`virsh destroy` on its host), then `berth sync`; recorded: {row.host}"
            yield Difference(Kind.TWIN, name, row.uuid, found, fix, serious=True)


def _moved(view: _View, row: GuestRow, host: str, told: str) -> Difference:
    found = f"guest {row.name} is recorded on {row.host or 'no host'}, found on {told}"
    if row.host is not None and row.host not in view.hosts:
        fix = f"{row.host} does not answer and may run it too: see there first"
        return Difference(Kind.MOVED, host, row.uuid, found, fix)
    fix = f"record it on {host}: `berth doctor --fix`; or move it back by hand"
    return Difference(Kind.MOVED, host, row.uuid, found, fix, Mend.ASK)


def _domains(view: _View) -> Iterator[Difference]:
    for host in view.hosts:
        for domain in view.domains(host):
            uuid = str(domain["uuid"])
            if uuid in view.live or not view.is_ours(uuid, domain) or _just_deleted(view, uuid, host):
                continue
            whose = f"guest {view.gone[uuid].name}, deleted" if uuid in view.gone else "a guest that the ledger lacks"
            found = f"domain {domain['name']} ({domain['state']}) is of {whose}"
            fix = "remove it with its disk: `berth doctor --fix`; a lost ledger is made again by `berth ledger rebuild`"
            mend = Mend.ASK
            if domain["state"] in ON:  # somebody may work in it
                fix, mend = "see what it is for; once it is off, `berth doctor --fix` removes it", Mend.NONE
            if users := view.users(uuid, host):  # with the domain its disk would go
                fix = f"{', '.join(users)} may live on its disk: see there, and undefine the wrong one by hand"
                mend = Mend.NONE
            yield Difference(Kind.ORPHAN_DOMAIN, host, uuid, found, fix, mend)


def _just_deleted(view: _View, uuid: str, host: str) -> bool:
    row = view.gone.get(uuid)
    at = collected_s(view.hosts[host].facts or {})
    return row is not None and at is not None and float(row.deleted_at or 0) > at - MARGIN_S


def _files(view: _View) -> Iterator[Difference]:
    """What is left of guests. Of one that was deleted it goes without asking: that is what was asked for."""
    for host in view.hosts:
        there = {str(domain["uuid"]) for domain in view.domains(host)}
        folders = {str(folder["uuid"]): folder for folder in view.files(host, "instances")}
        consoles = {str(uuid) for uuid in view.files(host, "consoles")}
        for uuid in sorted({*folders, *consoles} - there):
            row = view.live.get(uuid)
            if _just_deleted(view, uuid, host) or (row and (view.on_its_way(row, {host}) or row.host == host)):
                continue
            mend, fix = Mend.SAFE if uuid in view.gone else Mend.ASK, "remove it: `berth doctor --fix`"
            if row:  # on shared storage it is the guest's own
                mend, fix = Mend.NONE, f"remove it by hand, unless {host} and {row.host} share that folder"
            if users := view.users(uuid, host):
                mend, fix = Mend.NONE, f"{', '.join(users)} may live on it: see there, and remove it by hand if not"
            if uuid in folders and folders[uuid].get("other") and not folders[uuid].get("own"):
                mend, fix = Mend.NONE, "see what it is, and remove it by hand"
            for kind, what in _left(folders.get(uuid), uuid in consoles):
                known = row or view.gone.get(uuid)
                whose = f"guest {known.name}" if known else "a guest that the ledger does not know"
                state = ", deleted" if uuid in view.gone else f", which is on {row.host or 'no host'}" if row else ""
                found = f"{what} of {uuid}: {whose}{state}"
                yield Difference(kind, host, uuid, found, fix, mend)


def _disks(domain: Mapping[str, Any]) -> list[str]:
    return [str(disk.get("path") or "") for disk in domain.get("disks") or ()]


def _left(folder: Mapping[str, Any] | None, has_console: bool) -> Iterator[tuple[Kind, str]]:
    """Yields what there is of a guest, the worst first: the fix of any removes them all."""
    own = [str(name) for name in (folder or {}).get("own") or ()]
    disks = [name for name in own if name.startswith("disk")]
    if disks:
        yield Kind.ORPHAN_DISK, ", ".join(disks)
    if any(name.startswith("seed") for name in own):
        yield Kind.ORPHAN_SEED, "seed"
    if folder is not None and not disks and not any(name.startswith("seed") for name in own):
        yield Kind.ORPHAN_FOLDER, "instance folder"
    if has_console:
        yield Kind.ORPHAN_CONSOLE, "console log"


def _images(view: _View) -> Iterator[Difference]:
    for host in view.hosts:
        domains = view.domains(host)
        used = {_cache_name(domain.get("record") or {}) for domain in domains}
        paths = {path.rsplit("/", 1)[-1] for domain in domains for path in _disks(domain)}
        for name in view.files(host, "images"):
            if name in used or name in paths or name in view.seen.wanted_images:
                continue
            found = f"image {name} is in the cache, no guest here uses it and the catalog does not mean it"
            fix = "remove it: `berth doctor --fix`"
            yield Difference(Kind.UNUSED_IMAGE, host, str(name), found, fix, Mend.ASK)


def _cache_name(record: Mapping[str, Any]) -> str:
    return image_file(str(record.get("image_digest") or ""), str(record.get("image_format") or ""))


def image_file(digest: str, image_format: str) -> str:
    """Returns the name of an image in a host's cache (docs/data.md, section 4)."""
    return f"{digest.replace(':', '-')}.{image_format}"


def _addresses(view: _View) -> Iterator[Difference]:
    """A MAC of ours on another domain, anywhere; an address of ours leased to another MAC, on the guest's own host."""
    ours: dict[str, GuestRow] = {}
    leased: dict[tuple[str, str, str], tuple[GuestRow, str]] = {}
    for row in view.live.values():
        for interface in row.plan.get("networks") or ():
            mac = str(interface.get("mac") or "").lower()
            if mac:
                ours[mac] = row
                key = (str(row.host), str(interface.get("source")), str(interface.get("address")))
                leased[key] = (row, mac)
    for host in view.hosts:
        for domain in view.domains(host):
            for mac in {str(mac).lower() for mac in domain.get("macs") or () if mac}:
                if mac in ours and ours[mac].uuid != domain["uuid"]:
                    found = f"domain {domain['name']} has MAC {mac} of guest {ours[mac].name} on {ours[mac].host}"
                    fix = "give that domain another MAC: `virsh edit` on its host"
                    yield Difference(Kind.ADDRESS_CONFLICT, host, f"{domain['uuid']}/{mac}", found, fix, serious=True)
        yield from _leases(view, host, leased)


def _leases(
    view: _View, host: str, leased: Mapping[tuple[str, str, str], tuple[GuestRow, str]]
) -> Iterator[Difference]:
    for network in (view.hosts[host].facts or {}).get("networks") or ():
        for lease in network.get("leases") or ():
            row, mac = leased.get((host, str(network["name"]), str(lease["address"])), (None, ""))
            if row is not None and str(lease["mac"]).lower() != mac:
                whom = f"{lease['mac']} on network {network['name']}"
                found = f"address {lease['address']} of guest {row.name} is leased to {whom}"
                fix = "keep the network's DHCP range apart from the range of the catalog"
                yield Difference(
                    Kind.ADDRESS_CONFLICT, host, f"{row.uuid}/{lease['address']}", found, fix, serious=True
                )
