# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud of a soak: its catalog, its hosts' facts, and the requests that are booted again and again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hosts import Hosts

from berth.cloud import Cloud, find_cloud
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh

HOSTS = tuple(f"h{number}" for number in range(1, 7))
MAX_COUNT = 4
CATALOG: Mapping[str, list[dict[str, Any]]] = {
    "flavors": [
        {"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 2},
        {"name": "large", "vcpus": 3, "memory_mib": 1024, "disk_gib": 8},
    ],
    "images": [{"name": "tiny", "source": "images/tiny.qcow2", "format": "qcow2"}],
    # Too few addresses for all guests at once.
    "networks": [
        {"name": "lan", "kind": "nat", "cidr": "10.9.0.0/24", "range": {"first": "10.9.0.10", "last": "10.9.0.30"}},
        {"name": "slirp", "kind": "user"},
    ],
    "projects": [{"name": "default", "quota": {"instances": 30, "server_groups": 3}}],
}


def requests() -> dict[str, dict[str, Any]]:
    """Returns base name -> request. A name always means the same request, so that a run that died can be finished."""
    kinds: list[dict[str, Any]] = [
        {"flavor": "small", "networks": ["lan"]},
        {"flavor": "small", "networks": ["lan", "slirp"]},
        {"flavor": "large", "networks": ["lan"]},
        {"flavor": "small", "networks": ["slirp"], "group": {"name": "apart", "policy": "anti-affinity"}},
        {"flavor": "small", "networks": ["lan"], "group": {"name": "close", "policy": "affinity"}},
        {"flavor": "large", "networks": ["lan"], "group": {"name": "wish", "policy": "soft-anti-affinity"}},
    ]
    names = (f"{letter}{number}" for letter in "abc" for number in range(len(kinds)))
    return {name: {"name": name, "image": "tiny", **kinds[index % len(kinds)]} for index, name in enumerate(names)}


def make_cloud(folder: Path, ledger_url: str) -> Cloud:
    """Returns a new cloud with its hosts refreshed."""
    (folder / "catalog").mkdir()
    (folder / "images").mkdir()
    (folder / "images/tiny.qcow2").write_bytes(b"nobody opens it")
    for name, entries in CATALOG.items():
        (folder / f"catalog/{name}.yml").write_text(yaml.safe_dump({name: entries}))
    (folder / "berth.yml").write_text(yaml.safe_dump({"name": "soak", "ledger": ledger_url}))
    cloud = find_cloud(folder)
    Hosts(folder).make()
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh([update(Hosts(folder), host) for host in HOSTS], {}, "sha256:0", time.time()))
    return cloud


def update(hosts: Hosts, host: str) -> HostUpdate:
    """Returns a host's facts as a refresh learns them now."""
    number = HOSTS.index(host)
    facts = {
        "version": 1,
        "collected_at": time.time(),
        "clock_offset_s": 0.0,
        "hostname": host,
        "machine_id": f"{number:032x}",
        "boot_id": f"boot-{number}",
        "cpu": {"total": 2},
        "memory_mib": 3072 + 512 * (number % 3),
        "storage": {"disk_total_mib": 60_000, "disk_free_mib": 50_000, "filesystem": "ext4"},
        "virtualization": {"domain_type": "qemu"},
        "domains": [{**domain, "disks": [{"capacity_mib": domain["disk_mib"]}]} for domain in hosts.domains(host)],
    }
    return HostUpdate(host, facts=facts, groups=("compute",))
