# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler hints of a request, read by the filters that know them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from berth.errors import InvalidInput, Problem
from berth.placement.model import GuestRequest
from berth.placement.naming import did_you_mean

if TYPE_CHECKING:
    from berth.placement.profile import Profile

KNOWN = ("different_host", "same_host", "build_near_host_ip", "cidr", "query")
GUEST_HINTS = ("different_host", "same_host")
READ_BY = {
    "different_host": "DifferentHostFilter",
    "same_host": "SameHostFilter",
    "build_near_host_ip": "SimpleCIDRAffinityFilter",
    "query": "JsonFilter",
}


def check_hints(requests: Sequence[GuestRequest], profile: Profile) -> None:
    """Raises InvalidInput for every hint that nothing of the profile reads: it would be left out without a word."""
    hints = dict.fromkeys(name for request in requests for name in request.hints)
    problems = [
        Problem(f"hint {name}", f"profile {profile.name} has no {READ_BY[name]}, which reads it")
        for name in hints
        if name in READ_BY and READ_BY[name] not in profile.filters
    ]
    forced = next((request.force_host for request in requests if request.force_host), None)
    if forced:
        problems += [Problem(f"hint {name}", f"host {forced} is forced, which no filter can refuse") for name in hints]
    elif "cidr" in hints and "build_near_host_ip" not in hints:
        problems.append(Problem("hint cidr", "it is the prefix length of build_near_host_ip, which is not there"))
    if problems:
        advice = "add the filter to the profile, name another profile, force no host, or drop the hint"
        raise InvalidInput.from_problems("placement request", problems, hint=advice)


def guests_in(hints: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Returns the guests' UUIDs of a hint that is one of them or a list; empty without it."""
    value = hints.get(name)
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


class KnownGuests:
    """The guests that hints of one project may name: any by UUID, the project's own by name, case ignored.

    `guests` are triples of UUID, name and project.
    """

    def __init__(self, project: str, guests: Iterable[tuple[str, str, str]]) -> None:
        self.project = project
        self.uuids: set[str] = set()
        self.by_name: dict[str, tuple[str, str]] = {}
        for uuid, name, owner in guests:
            self.uuids.add(uuid)
            if owner == project:
                self.by_name[name.casefold()] = (name, uuid)

    def uuid_of(self, name: str) -> str | None:
        """Returns the UUID of the guest of that name or UUID, None when nothing has it."""
        found = self.by_name.get(name.casefold())
        return found[1] if found else name if name in self.uuids else None

    def unknown(self, name: str) -> str:
        """Returns that no guest has the name, and which one may be meant."""
        names = [known for known, _ in self.by_name.values()]
        return f"no guest {name!r} in project {self.project}; {did_you_mean(name, names)}"


def network_in(hints: Mapping[str, Any]) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Returns the network of `build_near_host_ip` and `cidr` (default /24), None without the hint.

    Raises ValueError when they are no network.
    """
    address = hints.get("build_near_host_ip")
    if not address:
        return None
    length = str(hints.get("cidr", "/24")).removeprefix("/")
    return ipaddress.ip_network(f"{address}/{length}", strict=False)


def hint_problems(hints: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the hints, but for what a filter reads further."""
    for name, value in hints.items():
        if name not in KNOWN:
            yield f"unknown hint {name!r}; known: {', '.join(KNOWN)}"
        elif name in GUEST_HINTS and not _is_names(value):
            yield f"hint {name}: found {value!r}, allowed: a guest's UUID or a list of them"


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value))


def zone_and_host(text: str) -> tuple[str | None, str | None]:
    """Returns the zone and the forced host of "ZONE", "ZONE:HOST" or ":HOST", as Nova's availability_zone has it."""
    zone, _, host = text.partition(":")
    return zone.strip() or None, host.strip() or None
