# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's facts, its variables and what is booked on it -> Host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeGuard

from berth.placement.devices import NumaCell, PciDevice
from berth.placement.model import Aggregate, GuestOnHost, Host
from berth.placement.pci import free_devices
from berth.placement.topology_facts import numa_cells, pci_devices, supported_instances, traits
from berth.placement.variables import WHERE_TO_MEND, read_variables

# The mark of a domain that is not this ledger's and yet Berth's: another ledger books it, on or off.
OTHER_CLOUDS = "other_clouds"
_PLAIN = (
    "cpu_allocation_ratio",
    "ram_allocation_ratio",
    "disk_allocation_ratio",
    "reserved_host_cpus",
    "reserved_host_memory_mib",
    "reserved_host_disk_mib",
    "availability_zone",
)


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What the ledger says about a host, beside its facts."""

    enabled: bool = True
    disabled_reason: str = ""
    reachable: bool = True
    unreachable_reason: str = ""
    quarantined: str = ""


@dataclass(frozen=True, slots=True)
class HostUsage:
    """What is booked on a host: the guests, how many of them are being worked on, and failed builds, faded or not."""

    guests: tuple[GuestOnHost, ...] = ()
    num_io_ops: int = 0
    failed_builds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


def host_from_facts(
    name: str,
    facts: Mapping[str, Any] | None,
    *,
    variables: Mapping[str, Any] | None = None,
    aggregates: Sequence[Aggregate] = (),
    usage: HostUsage | None = None,
    status: HostStatus | None = None,
) -> Host:
    """Returns the host that the facts (docs/data.md, section 1) and the `berth_*` variables describe.

    Missing facts, facts whose amounts are no whole numbers of 0 or more, and variables that do not hold give a host
    that placement refuses with that reason, and no other host. Domains that are not ours count as used, by the rule
    of docs/placement.md.
    """
    status, usage = status or HostStatus(), usage or HostUsage()
    settings, mistakes = read_variables(variables or {})
    facts = facts or {}
    domains = _strange_domains(facts, {guest.uuid for guest in usage.guests})
    problem, found = _from_facts(facts, settings, domains)
    problems = [*filter(None, [problem]), *mistakes, *([WHERE_TO_MEND] if mistakes else [])]
    strangers = _strangers(facts, domains)
    return Host(
        name=name,
        enabled=status.enabled,
        disabled_reason=status.disabled_reason,
        reachable=status.reachable,
        unreachable_reason=status.unreachable_reason,
        quarantined=status.quarantined,
        facts_problem="; ".join(problems),
        vcpus_used=sum(guest.vcpus for guest in (*usage.guests, *strangers)),
        memory_mib_used=sum(guest.memory_mib for guest in (*usage.guests, *strangers)),
        disk_mib_used=sum(guest.disk_mib for guest in (*usage.guests, *strangers)),
        aggregates=tuple(aggregates),
        facts=facts,
        guests=usage.guests,
        num_io_ops=usage.num_io_ops,
        failed_builds=usage.failed_builds,
        metrics=settings.get("metrics", usage.metrics),
        **found,
        **{name: settings[name] for name in _PLAIN if name in settings},
    )


def _from_facts(
    facts: Mapping[str, Any], settings: Mapping[str, Any], strangers: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """Returns what is wrong with the facts, if anything, and the Host fields they give."""
    problem, found = _amounts(facts)
    if problem or not facts:
        return problem, found
    try:
        cells, devices = numa_cells(facts, settings), pci_devices(facts, settings)
        found["numa_cells"], found["pci_devices"] = _left(facts, cells, devices, strangers)
        found["traits"] = traits(facts, settings)
        found["supported_instances"] = supported_instances(facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"numa_cells or pci_devices do not hold: {error!r}", found
    version = facts.get("qemu_version")
    found["hypervisor_version"] = version if _is_amount(version) else None
    if "shared_cpus" in settings or "dedicated_cpus" in settings:
        found["vcpus_total"] = sum(len(cell.shared_cpus) for cell in found["numa_cells"])
    return "", found


def _amounts(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns what is wrong with the facts, if anything, and the Host fields they give."""
    if not facts:
        return "", {}
    storage = _map(facts.get("storage"))
    found = {
        "vcpus_total": ("cpu.total", _map(facts.get("cpu")).get("total")),
        "memory_mib_total": ("memory_mib", facts.get("memory_mib")),
        "disk_mib_total": ("storage.disk_total_mib", storage.get("disk_total_mib")),
    }
    wrong = [f"{key} is {value!r}" for key, value in found.values() if not _is_amount(value)]
    collected, offset = facts.get("collected_at"), facts.get("clock_offset_s") or 0.0
    if not _is_time(collected) or not _is_time(offset):
        return f"collected_at is {collected!r}, clock_offset_s {offset!r}", {}
    amounts: dict[str, Any] = {"facts_at": float(collected) - float(offset)}
    if wrong:
        return ", ".join(wrong), amounts
    amounts.update({field: value for field, (_, value) in found.items()})
    free = storage.get("disk_free_mib")
    amounts["disk_free_mib_measured"] = free if _is_amount(free) else None
    amounts["address"] = str(_map(facts.get("migration")).get("address") or "")
    return "", amounts


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_amount(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**53


def _is_time(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and -float("inf") < value < float("inf")


def _strange_domains(facts: Mapping[str, Any], ours: set[str]) -> list[Mapping[str, Any]]:
    """Returns the domains that are not ours."""
    domains = _maps(facts.get("domains"))
    return [domain for domain in domains if domain.get("record") is None and domain.get("uuid") not in ours]


def _strangers(facts: Mapping[str, Any], domains: Sequence[Mapping[str, Any]]) -> list[GuestOnHost]:
    """Returns what each of the domains takes that are not ours; the host itself counts by the same rule."""
    found = []
    folder = _map(facts.get("storage")).get("instances_path")
    inside = f"{PurePosixPath(folder)}/" if isinstance(folder, str) else None
    for domain in domains:
        counts = _counts(domain)
        here = [disk for disk in _maps(domain.get("disks")) if inside and str(disk.get("path")).startswith(inside)]
        found.append(
            GuestOnHost(
                uuid=str(domain.get("uuid")),
                vcpus=_amount(domain.get("vcpus")) if counts else 0,
                memory_mib=_amount(domain.get("memory_mib")) if counts else 0,
                disk_mib=sum(_amount(disk.get("capacity_mib")) for disk in here),
            )
        )
    return found


def _counts(domain: Mapping[str, Any]) -> bool:
    """Returns whether a domain that is not ours takes what it is given; off, only a guest of another cloud does."""
    return bool(domain.get(OTHER_CLOUDS)) or domain.get("state") != "shutdown"


def _left(
    facts: Mapping[str, Any],
    cells: Sequence[NumaCell],
    devices: Sequence[PciDevice],
    strangers: Sequence[Mapping[str, Any]],
) -> tuple[tuple[NumaCell, ...], tuple[PciDevice, ...]]:
    """Returns cells and devices without what domains that are not ours have for themselves alone."""
    counted = [domain for domain in strangers if _counts(domain)]
    cpus = {cpu for domain in counted for cpu in _list(domain.get("pinned_cpus")) if _is_amount(cpu)}
    held = {str(address) for domain in counted for address in _list(domain.get("pci_addresses"))}
    # Theirs may be functions that are not for guests of ours.
    known = _maps(facts.get("pci_devices")) if held else []
    broken = {str(device.get("physical_function")) for device in known if str(device.get("address")) in held}
    return (
        tuple(replace(cell, dedicated_cpus=cell.dedicated_cpus - cpus) for cell in cells),
        tuple(device for device in free_devices(devices, held) if device.address not in broken),
    )


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [part for part in _list(value) if isinstance(part, Mapping)]


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _amount(value: Any) -> int:
    return value if _is_amount(value) else 0
