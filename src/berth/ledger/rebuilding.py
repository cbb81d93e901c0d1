# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests that the hosts' domains tell of: what a lost ledger is made from again. Pure.

Each domain carries its guest's record (docs/data.md, section 3). What no domain carries is lost: the history, user
data, deleted guests, locks, server groups whose policy is only a wish, and the guests' SSH host keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from berth.ledger.domain_record import pinned_cpus, record_mistake
from berth.ledger.model import GroupPolicy, PowerState, VmState
from berth.ledger.rows import AddressRow, ClaimRow, GroupRow, GuestRow, HostRow, Json
from berth.ledger.values import WHOLE_MOST
from berth.units import MIB_PER_GIB

_STATES = {
    PowerState.RUNNING: VmState.ACTIVE,
    PowerState.PAUSED: VmState.PAUSED,
    PowerState.SUSPENDED: VmState.ACTIVE,
}


@dataclass
class Rebuilt:
    """Rows for an empty ledger; `ports` are (host, port, guest uuid). `problems` tells what needs a person."""

    guests: list[GuestRow] = field(default_factory=list)
    claims: list[ClaimRow] = field(default_factory=list)
    addresses: list[AddressRow] = field(default_factory=list)
    ports: list[tuple[str, int, str]] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """One domain with a record that holds."""

    host: str
    power_state: PowerState
    disk_mib: int
    record: Json

    @property
    def uuid(self) -> str:
        return str(self.record["uuid"])

    @property
    def runs(self) -> bool:
        return self.power_state in _STATES


def rebuilt(hosts: Sequence[HostRow], cloud: str, at: float) -> Rebuilt:
    """Returns the rows for the domains that the hosts' facts show with a record of this cloud.

    Nothing is guessed silently: records that do not hold, a guest on two hosts, a name or address that two guests have,
    and hosts without facts are told in `problems`. A guest that runs on two hosts is recorded in ERROR.
    """
    result = Rebuilt()
    found: dict[str, list[_Found]] = {}
    for host in hosts:
        if host.facts is None or host.unreachable_message is not None:
            result.problems.append(
                f"host {host.name}: it did not answer; its guests are as of its last facts, or missing"
            )
        for item in _domains(host, cloud, result.problems):
            found.setdefault(item.uuid, []).append(item)
    names: dict[tuple[str, str], str] = {}
    for copies in sorted(found.values(), key=lambda copies: (_created(copies[0].record, at), copies[0].uuid)):
        best, fault = _one_of(copies, result.problems)
        key = (best.record["project"], best.record["name"].casefold())
        if key in names:
            result.problems.append(
                f"guest {best.record['name']} of project {key[0]}: {names[key]} and {best.uuid} on {best.host} have "
                "this name; the second is not recorded"
            )
            continue
        names[key] = best.uuid
        _add(result, best, fault, at)
    return result


def _domains(host: HostRow, cloud: str, problems: list[str]) -> Iterator[_Found]:
    for domain in (host.facts or {}).get("domains") or ():
        record = domain.get("record")
        if not record or record.get("cloud", cloud) != cloud:
            continue
        mistake = record_mistake(str(domain.get("uuid")), record)
        disk_mib = 0 if mistake else _disk_mib(domain, record)
        if disk_mib > WHOLE_MOST:
            mistake = f"its disks have {disk_mib} MiB, at most {WHOLE_MOST} can be recorded"
        if mistake:
            problems.append(f"host {host.name}: domain {domain.get('name')}: its record does not hold: {mistake}")
            continue
        state = domain.get("state")
        power_state = PowerState(state) if state in set(PowerState) else PowerState.NOSTATE
        yield _Found(host.name, power_state, disk_mib, record)


def _disk_mib(domain: Mapping[str, Any], record: Json) -> int:
    """Returns the size of the guest's disk: the flavor's, else the image's own, which the host shows."""
    capacities = (disk.get("capacity_mib") or 0 for disk in domain.get("disks") or ())
    return int(record["disk_gib"] * MIB_PER_GIB or sum(capacities))


def _one_of(copies: Sequence[_Found], problems: list[str]) -> tuple[_Found, str | None]:
    """Returns the copy that is the guest, and its fault: the one that runs, if one does."""
    ordered = sorted(copies, key=lambda copy: (not copy.runs, copy.host))
    if len(copies) == 1:
        return ordered[0], None
    where = ", ".join(f"{copy.host} ({copy.power_state})" for copy in ordered)
    message = f"guest {ordered[0].record['name']} ({ordered[0].uuid}) is on several hosts: {where}"
    problems.append(message)
    return ordered[0], message if ordered[1].runs else None


def _add(result: Rebuilt, found: _Found, fault: str | None, at: float) -> None:
    record = found.record
    created = _created(record, at)
    result.guests.append(
        GuestRow(
            uuid=found.uuid,
            project=record["project"],
            name=record["name"],
            vm_state=VmState.ERROR if fault else _STATES.get(found.power_state, VmState.STOPPED),
            task_state=None,
            power_state=found.power_state,
            host=found.host,
            flavor=record["flavor"],
            image=record["image"],
            image_digest=record.get("image_digest"),
            vcpus=record["vcpus"],
            memory_mib=record["memory_mib"],
            disk_mib=found.disk_mib,
            server_group=record.get("server_group"),
            ssh_host_key=record.get("ssh_host_key"),
            fault=fault,
            request_id=record.get("request_id") or "",
            action_id="",
            created_at=created,
            updated_at=at,
            launched_at=created,
            deleted_at=None,
            metadata=dict(record.get("metadata") or {}),
            plan=dict(record),
        )
    )
    sizes = (record["vcpus"] - pinned_cpus(record), record["memory_mib"], found.disk_mib)
    result.claims.append(ClaimRow(found.uuid, found.host, *sizes, created))
    _add_networks(result, found)
    _add_group(result, record, created)


def _add_networks(result: Rebuilt, found: _Found) -> None:
    macs = {row.mac for row in result.addresses}
    taken = {(row.network, row.address) for row in result.addresses if row.address}
    for position, interface in enumerate(found.record.get("networks", ())):
        mac, address = (interface.get("mac") or "").lower(), interface.get("address")
        network = interface.get("network", "")
        if not mac or mac in macs or (network, address) in taken:
            what = f"interface {position} has MAC {mac or 'none'}, address {address or 'none'}"
            result.problems.append(f"guest {found.record['name']}: {what}: missing or of another guest, not recorded")
            continue
        macs.add(mac)
        taken.add((network, address)) if address else None
        result.addresses.append(AddressRow(found.uuid, position, network, mac, address))
        port = interface.get("ssh_port")
        if port is not None and (found.host, port) not in {row[:2] for row in result.ports}:
            result.ports.append((found.host, port, found.uuid))


def _add_group(result: Rebuilt, record: Json, created: float) -> None:
    project, name, rule = record["project"], record.get("server_group"), record.get("group_policy")
    if not name or not rule:
        return
    policy, most = rule["policy"], rule["max_server_per_host"]
    known = {(row.project, row.name) for row in result.groups}
    if policy in set(GroupPolicy) and (project, name) not in known:
        result.groups.append(GroupRow(project, name, GroupPolicy(policy), most, created))


def _created(record: Json, at: float) -> float:
    created = record.get("created_at")
    return at if created is None else float(created)
