# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the facts of a host together: docs/data.md, section 1."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, NamedTuple, Optional

from ansible_collections.berth.kvm.plugins.module_utils import (
    host_daemon,
    host_domains,
    host_files,
    host_libvirt,
    host_storage,
    host_system,
    kvm_probe,
)

VERSION = 1
PROBE_FILE = "kvm-probe.json"


class Wishes(NamedTuple):
    """The module's parameters."""

    uri: str
    state_path: str
    instances_path: str
    images_path: str
    consoles_path: str
    controller_time: Optional[float]
    probe_kvm: str
    migration_address: Optional[str]
    migration_transport: Optional[str]


def collect(module: Any, connection: Any, wishes: Wishes) -> Dict[str, Any]:
    """Returns the facts. Raises libvirt.libvirtError when libvirt fails in the middle."""
    now = time.time()
    names = host_system.identity()
    capabilities = host_libvirt.Capabilities(connection)
    version = host_libvirt.supported(connection.getVersion)
    emulator = capabilities.emulator(version)
    memory_path = None if module.check_mode else probe_memory_path(wishes.state_path)
    virtualization = kvm_probe.virtualization(emulator, wishes.probe_kvm, memory_path, names["boot_id"])
    tools = host_system.tools()
    return {
        "version": VERSION,
        "collected_at": now,
        "clock_offset_s": None if wishes.controller_time is None else round(now - wishes.controller_time, 3),
        **names,
        "os": host_system.operating_system(),
        "host_uuid": capabilities.host_uuid,
        "architecture": capabilities.architecture,
        "cpu": capabilities.cpu(connection),
        **host_system.memory_mib(),
        "numa_cells": capabilities.numa_cells(),
        "pci_devices": host_libvirt.pci_devices(connection),
        "storage": host_storage.storage(wishes.instances_path),
        "images": host_storage.images(wishes.images_path),
        "libvirt_version": connection.getLibVersion(),
        "qemu_version": version,
        "machines": capabilities.machines(),
        "firmware": host_libvirt.firmware(connection, emulator, virtualization["domain_type"]),
        "virtualization": virtualization,
        "pools": host_libvirt.pools(connection),
        "networks": host_libvirt.networks(connection),
        "bridges": host_system.bridges(),
        "tools": tools,
        "domains": host_domains.domains(connection),
        "files": host_files.files(wishes.instances_path, wishes.consoles_path, wishes.images_path),
        "daemon": host_daemon.daemon(wishes.uri),
        "migration": {
            "address": wishes.migration_address or host_system.default_route_address(),
            "transport": wishes.migration_transport,
            "certificate_not_after": host_daemon.certificate_not_after(
                module, tools["openssl"], host_daemon.certificates(wishes.migration_transport)
            ),
        },
    }


def probe_memory_path(state_path: str) -> str:
    """Returns where the KVM probe's answer is kept: with the host's state, for an ordinary user in the user's cache."""
    if os.geteuid() == 0 or os.access(state_path, os.W_OK):
        return os.path.join(state_path, PROBE_FILE)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "berth", PROBE_FILE)
