# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks what a batch asks for, before anything is decided: every mistake, not the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from berth.errors import InvalidInput, Problem
from berth.placement.filters.base import Filter
from berth.placement.fleet import Fleet
from berth.placement.hints import hint_problems
from berth.placement.model import LARGEST, GuestRequest, Policy, ServerGroup
from berth.placement.naming import did_you_mean
from berth.spec.extra_specs import allowed_instead
from berth.units import MIB_PER_GIB

_LARGEST_GIB = LARGEST // MIB_PER_GIB
_AMOUNTS = {
    "vcpus": (1, LARGEST),
    "memory_mib": (1, LARGEST),
    "disk_gib": (0, _LARGEST_GIB),
    "ephemeral_gib": (0, _LARGEST_GIB),
    "swap_mib": (0, LARGEST),
}
_CLASSES = ("resources:VCPU", "resources:MEMORY_MB", "resources:DISK_GB")


def check_requests(fleet: Fleet, requests: Sequence[GuestRequest], filters: Sequence[Filter]) -> None:
    """Raises InvalidInput with every mistake in the requests; returns nothing when there is none."""
    problems = [*_uuid_problems(requests), *_group_problems(requests)]
    for request in requests:
        problems.extend(_amount_problems(request))
        if request.force_host or request.destination or request.ignore_hosts:
            problems.extend(_name_problems(fleet, request))
        if request.extra_specs:
            problems.extend(Problem(_where(request), text) for text in spec_mistakes(request))
        if request.hints:
            problems.extend(Problem(_where(request), text) for text in hint_problems(request.hints))
        if request.extra_specs or request.hints or request.image_properties:
            problems.extend(_filter_problems(request, filters))
    if problems:
        raise InvalidInput.from_problems("placement request", problems)


def _where(request: GuestRequest) -> str:
    return f"guest {request.name}"


def _uuid_problems(requests: Sequence[GuestRequest]) -> Iterator[Problem]:
    seen: set[str] = set()
    for request in requests:
        if request.uuid in seen:
            yield Problem(_where(request), f"UUID {request.uuid} is asked for twice in one batch")
        seen.add(request.uuid)


def _amount_problems(request: GuestRequest) -> Iterator[Problem]:
    for name, (least, most) in _AMOUNTS.items():
        value = getattr(request, name)
        if type(value) is not int or not least <= value <= most:
            text = f"{name}: found {value!r}, allowed: a whole number, {least} or more, at most {most}"
            yield Problem(_where(request), text)


def _name_problems(fleet: Fleet, request: GuestRequest) -> Iterator[Problem]:
    """Yields forced hosts and destinations that no host has; an ignored host may be gone already."""
    asked = request.force_host
    if asked and asked.casefold() not in fleet.row_of_folded:
        yield Problem(_where(request), f"forced host {asked} is not in the fleet; {did_you_mean(asked, fleet.names)}")
    asked = request.destination
    if asked and asked not in fleet.row_of:
        yield Problem(_where(request), f"destination {asked} is not in the fleet; {did_you_mean(asked, fleet.names)}")


def spec_mistakes(request: GuestRequest) -> Iterator[str]:
    """Yields what is wrong with extra specs whatever the profile: keys that nothing reads, amounts that are none."""
    for key in request.extra_specs:
        instead = allowed_instead(key)
        if instead is not None:
            yield f"extra specs: found the key {key!r}, allowed: {instead}"
    for key in _CLASSES:
        text = request.extra_specs.get(key)
        if text is not None and not str(text).isdecimal():
            yield f"extra spec {key}: found {text!r}, allowed: a whole number, 0 or more"


def _filter_problems(request: GuestRequest, filters: Sequence[Filter]) -> list[Problem]:
    texts = dict.fromkeys(text for rule in filters for text in rule.problems(request))
    return [Problem(_where(request), text) for text in texts]


def _group_problems(requests: Sequence[GuestRequest]) -> Iterator[Problem]:
    seen: dict[str, ServerGroup] = {}
    for request in requests:
        group = request.group
        if group is None:
            continue
        first = seen.setdefault(group.name, group)
        if first is not group and first != group:
            yield Problem(_where(request), f"group {group.name} is given twice in one batch, with different content")
        if group.policy not in set(Policy):
            allowed = ", ".join(Policy)
            yield Problem(_where(request), f"group {group.name}: policy {group.policy!r}, allowed: {allowed}")
        if type(group.max_server_per_host) is not int or group.max_server_per_host < 1:
            text = f"max_server_per_host: found {group.max_server_per_host!r}, allowed: 1 or more"
            yield Problem(_where(request), f"group {group.name}: {text}")
