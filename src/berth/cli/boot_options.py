# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that `berth boot` and `berth place` share, and the boot request that they make up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

Flavor = Annotated[str, typer.Option("--flavor", help="Flavor, from catalog/flavors.yml.")]
Image = Annotated[str, typer.Option("--image", help="Image, from catalog/images.yml.")]
Networks = Annotated[list[str] | None, typer.Option("--network", help="Network; once per interface.")]
Count = Annotated[int, typer.Option("--count", min=1, max=1000, help="How many guests.")]
Project = Annotated[str | None, typer.Option("--project", help="Project that owns the guests.")]
Zone = Annotated[
    str | None,
    typer.Option("--availability-zone", help="Only hosts of this zone; ZONE:HOST or :HOST forces the host."),
]
Profile = Annotated[str | None, typer.Option("--profile", help="Placement profile, from catalog/placement.yml.")]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Of profiles that choose by chance: the same seed, the same hosts.")
]
Destination = Annotated[str | None, typer.Option("--host", help="Only this host, if every filter lets it through.")]
ForceHost = Annotated[str | None, typer.Option("--force-host", help="This host, the profile's filters skipped.")]
ForceNode = Annotated[str | None, typer.Option("--force-node", help="The same: a host is its only node.")]
IgnoreHosts = Annotated[list[str] | None, typer.Option("--ignore-host", help="Not this host; repeatable.")]
DifferentHost = Annotated[
    list[str] | None, typer.Option("--different-host", help="Not where this guest lives; repeatable.")
]
SameHost = Annotated[list[str] | None, typer.Option("--same-host", help="Where one of these guests lives; repeatable.")]
NearIp = Annotated[str | None, typer.Option("--build-near-host-ip", help="Hosts with an address near this one.")]
Cidr = Annotated[str | None, typer.Option("--cidr", help="How near, as a prefix length; /24 without.")]
Query = Annotated[str | None, typer.Option("--query", help='Condition on hosts as JSON: [">=", "$free_ram_mb", 1024].')]
Group = Annotated[str | None, typer.Option("--group", help="Server group of the guests.")]
Policy = Annotated[
    str | None,
    typer.Option("--policy", help="affinity, anti-affinity, soft-affinity or soft-anti-affinity; when new."),
]
MaxServerPerHost = Annotated[
    int | None, typer.Option("--max-server-per-host", help="Members a host may have, with --policy anti-affinity.")
]

_PLAIN = ("name", "flavor", "image", "project", "availability_zone", "profile", "seed")
_HINTS = {
    "host": "destination",
    "force_host": "force_host",
    "force_node": "force_node",
    "ignore_host": "ignore_hosts",
    "different_host": "different_host",
    "same_host": "same_host",
    "build_near_host_ip": "build_near_host_ip",
    "cidr": "cidr",
    "query": "query",
}
_GROUP = {"group": "name", "policy": "policy", "max_server_per_host": "max_server_per_host"}


def request_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the boot request of a command's options, by parameter name; what was not given is left out."""
    group = _given(options, _GROUP)
    request = {
        **_given(options, {key: key for key in _PLAIN}),
        "count": options["count"],
        "networks": list(options.get("network") or ()),
        "group": group["name"] if list(group) == ["name"] else group,
        "hints": _given(options, _HINTS),
    }
    return {key: value for key, value in request.items() if not _is_nothing(value)}


def _given(options: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    found = {key: options.get(option) for option, key in keys.items()}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in found.items()
        if not _is_nothing(value)
    }


def _is_nothing(value: Any) -> bool:
    # "" and 0 were given, and are checked like any other value: an empty --force-host must not mean any host.
    return value is None or (not value and isinstance(value, (dict, list, tuple)))
