# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's facts, its variables and what is booked on it -> Host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from berth.errors import InvalidInput, Problem
from berth.placement.model import Aggregate, GuestOnHost, Host

_RUNNING = ("running", "paused", "suspended")


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
    """What is booked on a host: the guests, and how many of them are being worked on."""

    guests: tuple[GuestOnHost, ...] = ()
    num_io_ops: int = 0
    failed_builds: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A `berth_*` variable of a host: which Host field it sets, and what it may be."""

    host_field: str
    whole: bool
    least: float
    allowed: str


_RATIO = "a finite number above 0"
_AMOUNT = "a whole number, 0 or more"
_VARIABLES = {
    "berth_cpu_allocation_ratio": _Variable("cpu_allocation_ratio", False, 0.0, _RATIO),
    "berth_ram_allocation_ratio": _Variable("ram_allocation_ratio", False, 0.0, _RATIO),
    "berth_disk_allocation_ratio": _Variable("disk_allocation_ratio", False, 0.0, _RATIO),
    "berth_reserved_host_cpus": _Variable("reserved_host_cpus", True, 0, _AMOUNT),
    "berth_reserved_host_memory_mib": _Variable("reserved_host_memory_mib", True, 0, _AMOUNT),
    "berth_reserved_host_disk_mib": _Variable("reserved_host_disk_mib", True, 0, _AMOUNT),
}


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

    Missing facts, or facts whose amounts are no whole numbers of 0 or more, give a host that placement
    refuses with that reason. Guests that are not ours and run on the host count as used.
    Raises InvalidInput with every variable that does not hold.
    """
    status, usage = status or HostStatus(), usage or HostUsage()
    settings = _settings(name, variables or {})
    facts = facts or {}
    problem, amounts = _amounts(facts)
    strangers = _strangers(facts, {guest.uuid for guest in usage.guests})
    return Host(
        name=name,
        enabled=status.enabled,
        disabled_reason=status.disabled_reason,
        reachable=status.reachable,
        unreachable_reason=status.unreachable_reason,
        quarantined=status.quarantined,
        facts_problem=problem,
        vcpus_used=sum(guest.vcpus for guest in (*usage.guests, *strangers)),
        memory_mib_used=sum(guest.memory_mib for guest in (*usage.guests, *strangers)),
        disk_mib_used=sum(guest.disk_mib for guest in usage.guests),
        aggregates=tuple(aggregates),
        facts=facts,
        guests=usage.guests,
        num_io_ops=usage.num_io_ops,
        failed_builds=usage.failed_builds,
        metrics=usage.metrics,
        **amounts,
        **settings,
    )


def _amounts(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns what is wrong with the facts, if anything, and the Host fields they give."""
    if not facts:
        return "", {}
    storage = facts.get("storage") or {}
    found = {
        "vcpus_total": ("cpu.total", (facts.get("cpu") or {}).get("total")),
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
    amounts["address"] = str((facts.get("migration") or {}).get("address") or "")
    return "", amounts


def _is_amount(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**53


def _is_time(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and -float("inf") < value < float("inf")


def _strangers(facts: Mapping[str, Any], ours: set[str]) -> list[GuestOnHost]:
    """Returns the domains that run on the host and are not Berth's: they take CPU and memory all the same."""
    found = []
    for domain in facts.get("domains") or ():
        if domain.get("record") is not None or domain.get("uuid") in ours or domain.get("state") not in _RUNNING:
            continue
        vcpus, memory_mib = domain.get("vcpus"), domain.get("memory_mib")
        found.append(
            GuestOnHost(
                uuid=str(domain.get("uuid")),
                vcpus=vcpus if _is_amount(vcpus) else 0,
                memory_mib=memory_mib if _is_amount(memory_mib) else 0,
            )
        )
    return found


def _settings(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the Host fields that the variables set."""
    found: dict[str, Any] = {}
    problems = []
    for variable, rule in _VARIABLES.items():
        value = variables.get(variable)
        if value is None:
            continue
        number = _number(value, rule)
        if number is None:
            problems.append(Problem(f"host {name}", f"{variable}: found {value!r}, allowed: {rule.allowed}"))
        else:
            found[rule.host_field] = number
    zone = variables.get("berth_availability_zone")
    if zone is not None and (not isinstance(zone, str) or not zone.strip()):
        problems.append(Problem(f"host {name}", f"berth_availability_zone: found {zone!r}, allowed: a name"))
    elif zone is not None:
        found["availability_zone"] = zone.strip()
    if problems:
        raise InvalidInput.from_problems("host variables", problems, hint="mend host_vars or group_vars")
    return found


def _number(value: Any, rule: _Variable) -> int | float | None:
    """Returns the value as a number, also from text, which is what a template leaves; None when it does not hold."""
    if isinstance(value, str):
        try:
            value = int(value) if rule.whole else float(value)
        except ValueError:
            return None
    if type(value) not in (int, float) or not -float("inf") < value < float("inf"):
        return None
    if rule.whole:
        return int(value) if value == int(value) and value >= rule.least else None
    return float(value) if value > rule.least else None
