# SPDX-License-Identifier: GPL-3.0-or-later
"""The last look at a plan before it becomes XML: what is rendered never relies on a check far away."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from berth.domain.naming import domain_name
from berth.domain.pins import pin_problems
from berth.domain.properties import CHOICES, property_problems
from berth.domain.slirp import MAX_FORWARDED, is_forwarded
from berth.errors import InvalidInput, Problem
from berth.spec import names

_WORDS: Mapping[str, tuple[str, ...]] = {
    "firmware": ("bios", "efi"),
    "architecture": ("x86_64", "aarch64"),
    "cpu_mode": ("host-model", "host-passthrough", "maximum"),
    "domain_type": ("auto", "kvm", "qemu"),
}
KINDS = ("nat", "routed", "bridge", "user")
MAX_NETWORKS = 16

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MACHINE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# The second hexadecimal digit is even: a group address cannot be an interface's own.
_MAC = re.compile(r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")


def check_plan(plan: Mapping[str, Any]) -> None:
    """Raises InvalidInput with every value of the plan that must not reach a domain or a path on a host."""
    networks = plan.get("networks") or []
    problems = [
        *_identity(plan),
        *_sizes(plan),
        *_words(plan),
        *_paths(plan),
        *_networks(networks),
        *pin_problems(plan),
    ]
    if problems:
        raise InvalidInput.from_problems(
            f"guest {plan.get('name')!r}", problems, hint="change the request, the flavor, the image or the network"
        )


def _identity(plan: Mapping[str, Any]) -> Iterator[Problem]:
    if not _matches(_UUID, plan.get("uuid")):
        yield Problem("uuid", f"found {plan.get('uuid')!r}, allowed: a UUID in lower case")
    name, project = plan.get("name"), plan.get("project")
    if not isinstance(name, str) or not names.is_guest_name(name):
        yield Problem("name", f"found {name!r}, allowed: {names.GUEST_NAME_RULE}")
    elif not isinstance(project, str) or not names.is_name(project):
        yield Problem("project", f"found {project!r}, allowed: {names.NAME_RULE}")
    elif plan.get("domain_name") != domain_name(project, name):
        yield Problem("domain_name", f"found {plan.get('domain_name')!r}, allowed: {domain_name(project, name)!r}")


def _sizes(plan: Mapping[str, Any]) -> Iterator[Problem]:
    for key, least in (("vcpus", 1), ("memory_mib", 1), ("disk_gib", 0)):
        value = plan.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            yield Problem(key, f"found {value!r}, allowed: a whole number from {least}")


def _words(plan: Mapping[str, Any]) -> Iterator[Problem]:
    for key, allowed in _WORDS.items():
        if plan.get(key) not in allowed:
            yield Problem(key, f"found {plan.get(key)!r}, allowed: {', '.join(allowed)}")
    caches = CHOICES["hw_disk_cache"]
    if plan.get("disk_cache") not in (None, *caches):
        yield Problem("disk_cache", f"found {plan.get('disk_cache')!r}, allowed: {', '.join(caches)}")
    if not _matches(_MACHINE, plan.get("machine")):
        yield Problem("machine", f"found {plan.get('machine')!r}, allowed: a machine type such as q35")
    if plan.get("architecture") == "aarch64" and plan.get("firmware") == "bios":
        yield Problem("firmware", "found 'bios', allowed for aarch64: efi")
    properties = plan.get("properties") or {}
    vcpus = plan.get("vcpus")
    if isinstance(vcpus, int):
        yield from property_problems(properties, vcpus=vcpus)
    if properties.get("os_secure_boot") == "required" and (plan.get("firmware"), plan.get("machine")) != ("efi", "q35"):
        yield Problem("os_secure_boot", "found 'required', which needs firmware efi and machine q35")


def _paths(plan: Mapping[str, Any]) -> Iterator[Problem]:
    for key, suffix in (("instance_dir", ""), ("console_log", ".log")):
        found = plan.get(key)
        name = f"{plan.get('uuid')}{suffix}"
        if not is_plain_path(found) or PurePosixPath(str(found)).name != name:
            yield Problem(key, f"found {found!r}, allowed: an absolute path that ends with /{name}")


def is_plain_path(path: object) -> bool:
    """Returns whether `path` is absolute, already normal and printable: it means the same to everyone who reads it."""
    if not isinstance(path, str) or not path.isprintable() or not path.startswith("/") or path.startswith("//"):
        return False
    return str(PurePosixPath(path)) == path and ".." not in PurePosixPath(path).parts


def _networks(networks: list[Mapping[str, Any]]) -> Iterator[Problem]:
    if len(networks) > MAX_NETWORKS or sum(map(is_forwarded, networks)) > MAX_FORWARDED:
        yield Problem("networks", f"found {len(networks)}, allowed: {MAX_NETWORKS}, {MAX_FORWARDED} of them forwarded")
    macs = [str(network.get("mac")).lower() for network in networks]
    for index, network in enumerate(networks):
        where = f"networks[{index}]"
        if macs.index(macs[index]) != index:
            yield Problem(f"{where}.mac", f"found {macs[index]}, which networks[{macs.index(macs[index])}] has")
        for problem in _network(network):
            yield Problem(f"{where}.{problem.where}", problem.message)


def _network(network: Mapping[str, Any]) -> Iterator[Problem]:
    kind = network.get("kind")
    if kind not in KINDS:
        yield Problem("kind", f"found {kind!r}, allowed: {', '.join(KINDS)}")
    if not _matches(_MAC, str(network.get("mac")).lower()):
        yield Problem("mac", f"found {network.get('mac')!r}, allowed: six bytes such as 52:54:00:12:34:56")
    source = network.get("source")
    if kind == "bridge" and not _matches(_INTERFACE, source):
        yield Problem("source", f"found {source!r}, allowed: the name of a bridge")
    if kind in ("nat", "routed") and not (isinstance(source, str) and names.is_name(source)):
        yield Problem("source", f"found {source!r}, allowed: the name of a libvirt network")
    for key, low, high in (("mtu", 576, 65535), ("ssh_port", 1, 65535)):
        value = network.get(key)
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            yield Problem(key, f"found {value!r}, allowed: {low} to {high}")
    yield from _addresses(network)


def _addresses(network: Mapping[str, Any]) -> Iterator[Problem]:
    assignment = network.get("assignment")
    if assignment not in ("static", "dhcp"):
        yield Problem("assignment", f"found {assignment!r}, allowed: static, dhcp")
    is_static = assignment == "static"
    prefix = network.get("prefix")
    if (is_static or prefix is not None) and not (isinstance(prefix, int) and 1 <= prefix <= 32):
        yield Problem("prefix", f"found {prefix!r}, allowed: 1 to 32")
    dns = list(network.get("dns") or [])
    for key, value in [("address", network.get("address")), ("gateway", network.get("gateway"))]:
        if (value is not None or (is_static and key == "address")) and not _is_address(value, versions=(4,)):
            yield Problem(key, f"found {value!r}, allowed: an IPv4 address")
    for value in dns:
        if not _is_address(value, versions=(4, 6)):
            yield Problem("dns", f"found {value!r}, allowed: IP addresses")


def _is_address(value: object, *, versions: tuple[int, ...]) -> bool:
    try:
        return isinstance(value, str) and "%" not in value and ipaddress.ip_address(value).version in versions
    except ValueError:
        return False


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
