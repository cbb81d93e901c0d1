# SPDX-License-Identifier: GPL-3.0-or-later
"""The `berth_*` variables of a host that placement reads, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from berth.placement.devices import parse_cpus
from berth.placement.model import LARGEST


@dataclass(frozen=True, slots=True)
class _Rule:
    """One variable: the name of the setting it becomes, how it is read, and what it may be."""

    setting: str
    read: Callable[[Any], Any]
    allowed: str


def _ratio(value: Any) -> float:
    number = _number(value)
    if not 0 < number <= LARGEST:
        raise ValueError(value)
    return number


def _amount(value: Any) -> int:
    number = _number(value)
    if number != int(number) or not 0 <= number < 2**53:
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> float:
    """Returns a finite number, also from text, which is what a template leaves. Raises ValueError."""
    if isinstance(value, str):
        value = float(value)
    if type(value) not in (int, float) or not -float("inf") < value < float("inf"):
        raise ValueError(value)
    return float(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(value)
    return value.strip()


def _cpus(value: Any) -> frozenset[int]:
    return parse_cpus(str(value))


def _names(value: Any) -> frozenset[str]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(value)
    return frozenset(_name(part) for part in value)


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(value)
    return {_name(key): _number(number) for key, number in value.items()}


def _pages(value: Any) -> dict[tuple[int, int], int]:
    return {(_amount(pool["node"]), _amount(pool["size_kib"])): _amount(pool["count"]) for pool in _maps(value)}


_DEVICE_KEYS = frozenset(("address", "vendor_id", "product_id"))


def _devices(value: Any) -> tuple[dict[str, str], ...]:
    found = tuple({key: _name(part) for key, part in entry.items()} for entry in _maps(value))
    if any(not entry or not _DEVICE_KEYS.issuperset(entry) for entry in found):
        raise ValueError(value)
    return found


def _maps(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, Mapping) for part in value):
        raise ValueError(value)
    return list(value)


_RATIO = f"a number above 0, at most {LARGEST}"
_AMOUNT = "a whole number, 0 or more"
_CPUS = "a list of CPUs such as 2-7,^4"

WHERE_TO_MEND = "mend host_vars or group_vars"
VARIABLES = {
    "berth_cpu_allocation_ratio": _Rule("cpu_allocation_ratio", _ratio, _RATIO),
    "berth_ram_allocation_ratio": _Rule("ram_allocation_ratio", _ratio, _RATIO),
    "berth_disk_allocation_ratio": _Rule("disk_allocation_ratio", _ratio, _RATIO),
    "berth_reserved_host_cpus": _Rule("reserved_host_cpus", _amount, _AMOUNT),
    "berth_reserved_host_memory_mib": _Rule("reserved_host_memory_mib", _amount, _AMOUNT),
    "berth_reserved_host_disk_mib": _Rule("reserved_host_disk_mib", _amount, _AMOUNT),
    "berth_availability_zone": _Rule("availability_zone", _name, "a name"),
    "berth_cpu_shared_set": _Rule("shared_cpus", _cpus, _CPUS),
    "berth_cpu_dedicated_set": _Rule("dedicated_cpus", _cpus, _CPUS),
    "berth_reserved_huge_pages": _Rule("reserved_pages", _pages, "a list of {node, size_kib, count}"),
    "berth_pci_passthrough": _Rule("pci_passthrough", _devices, "a list of {address} or {vendor_id, product_id}"),
    "berth_traits": _Rule("traits", _names, "a list of names"),
    "berth_metrics": _Rule("metrics", _numbers, "a map of names to numbers"),
}


def read_variables(variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns the settings that the host's variables give, by setting name, and every mistake in them.

    A mistake says variable, found value and what is allowed. Its variable gives no setting.
    """
    settings: dict[str, Any] = {}
    mistakes = []
    for variable, rule in VARIABLES.items():
        value = variables.get(variable)
        if value is None:
            continue
        try:
            settings[rule.setting] = rule.read(value)
        except (ValueError, TypeError, KeyError):
            mistakes.append(f"{variable}: found {value!r}, allowed: {rule.allowed}")
    both = settings.get("shared_cpus", frozenset()) & settings.get("dedicated_cpus", frozenset())
    if both:
        del settings["shared_cpus"], settings["dedicated_cpus"]
        found = f"berth_cpu_shared_set and berth_cpu_dedicated_set share CPUs {sorted(both)}"
        mistakes.append(f"{found}; each CPU is in one of them")
    return settings, mistakes
