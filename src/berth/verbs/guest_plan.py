# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest plan: all that is decided about a guest (docs/data.md, section 2), and the same made sure for one host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from berth.domain.model import HostView
from berth.domain.naming import domain_name
from berth.ledger.rows import AddressRow, HostRow, NewGuest, Resources
from berth.spec.network import Assignment, Network, NetworkKind
from berth.spec.request import ResolvedRequest
from berth.units import MIB_PER_GIB

STATE_PATH = "/var/lib/berth"


@dataclass(frozen=True)
class HostPaths:
    """Where a host keeps what is Berth's, from its `berth_*` variables."""

    instances: str
    images: str
    consoles: str
    uri: str

    @classmethod
    def of(cls, host: HostRow) -> HostPaths:
        """Returns a host's places: each variable, else below `berth_host_state_path`, else the host role's default."""
        given = host.variables
        state = PurePosixPath(str(given.get("berth_host_state_path") or STATE_PATH))
        kinds = ("instances", "images", "consoles")
        paths = {kind: str(given.get(f"berth_{kind}_path") or state / kind) for kind in kinds}
        return cls(**paths, uri=str(given.get("berth_libvirt_uri") or "qemu:///system"))

    def instance_dir(self, uuid: str) -> str:
        """Returns the folder of one guest."""
        return str(PurePosixPath(self.instances, uuid))

    def console_log(self, uuid: str) -> str:
        """Returns the console log of one guest."""
        return str(PurePosixPath(self.consoles, f"{uuid}.log"))


@dataclass(frozen=True)
class BootContext:
    """What all guests of one boot share besides the request."""

    cloud: str
    request_id: str
    request_digest: str
    created_at: float
    disk_gib: int


def new_guest(wanted: ResolvedRequest, uuid: str, name: str, context: BootContext) -> NewGuest:
    """Returns one guest to record: the part of its plan that no host and no address decides."""
    request, flavor, image = wanted.request, wanted.flavor, wanted.image
    plan = {
        "uuid": uuid,
        "name": name,
        "domain_name": domain_name(request.project, name),
        "project": request.project,
        "flavor": flavor.name,
        "image": image.name,
        "vcpus": flavor.vcpus,
        "memory_mib": flavor.memory_mib,
        "disk_gib": flavor.disk_gib,
        "machine": flavor.machine.value,
        "firmware": flavor.firmware.value,
        "architecture": image.architecture.value,
        "properties": wanted.properties,
        "extra_specs": dict(flavor.extra_specs),
        "login_user": image.login_user,
        "public_keys": [key.public_key for key in wanted.keys],
        "user_data": request.user_data,
        "on_host_boot": wanted.on_host_boot.value,
        "metadata": dict(request.metadata),
        "server_group": request.group.name if request.group else None,
        "created_at": context.created_at,
        "cloud": context.cloud,
        "request_id": context.request_id,
        "request_digest": context.request_digest,
        "networks": [_interface(network) for network in wanted.networks],
    }
    return NewGuest(
        uuid=uuid,
        project=request.project,
        name=name,
        flavor=flavor.name,
        image=image.name,
        resources=Resources(flavor.vcpus, flavor.memory_mib, context.disk_gib * MIB_PER_GIB),
        server_group=request.group.name if request.group else None,
        metadata=dict(request.metadata),
        plan=plan,
    )


def _interface(network: Network) -> dict[str, Any]:
    """Returns one interface of the plan; address and mac come from the ledger, the port from the claim."""
    return {
        "network": network.name,
        "kind": network.kind.value,
        "source": network.bridge if network.kind is NetworkKind.BRIDGE else network.name,
        "cidr": network.cidr,
        "prefix": network.prefix,
        "gateway": network.gateway,
        "dns": list(network.dns or ()),
        "mtu": network.mtu,
        "assignment": network.assignment.value,
        "mac": None,
        "address": None,
        "ssh_port": None,
    }


def wants_address(network: Network) -> bool:
    """Returns whether the ledger hands out this network's addresses."""
    return network.assignment is Assignment.STATIC and network.range is not None


def forwarded_ports(networks: Iterable[Network]) -> int:
    """Returns how many ports of its host a guest needs: one for SSH if its first way in is user-mode networking."""
    return 1 if any(network.kind is NetworkKind.USER for network in networks) else 0


def plan_on_host(
    plan: Mapping[str, Any],
    host: HostRow,
    addresses: Iterable[AddressRow],
    ports: Iterable[int],
) -> dict[str, Any]:
    """Returns the plan made sure for one host: places, domain type, disk cache, addresses, forwarded port."""
    paths, uuid, view = HostPaths.of(host), str(plan["uuid"]), HostView.from_facts(host.facts or {})
    given = {row.position: row for row in addresses}
    free_ports = list(ports)
    networks = []
    for position, interface in enumerate(plan["networks"]):
        row = given[position]
        port = free_ports.pop(0) if interface["kind"] == NetworkKind.USER and free_ports else None
        networks.append({**interface, "mac": row.mac, "address": row.address, "ssh_port": port})
    return {
        **plan,
        "networks": networks,
        "domain_type": view.domain_type,
        "cpu_mode": "host-model" if view.domain_type == "kvm" else "maximum",
        "disk_cache": view.disk_cache,
        "instance_dir": paths.instance_dir(uuid),
        "console_log": paths.console_log(uuid),
    }
