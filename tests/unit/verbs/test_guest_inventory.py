# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests as inventory hosts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from berth.ledger.model import VmState
from berth.ledger.rows import GuestRow, HostRow
from berth.verbs.guest_inventory import GuestHost, guest_inventory

KEY = "ssh-ed25519 AAAA"


def guest(name: str, *, project: str = "default", **changes: Any) -> GuestRow:
    values: dict[str, Any] = dict.fromkeys(GuestRow.__dataclass_fields__)
    plan = {
        "login_user": "debian",
        "domain_name": name if project == "default" else f"{project}.{name}",
        "networks": [{"network": "lan", "kind": "nat", "mac": "m", "address": "192.168.150.11", "ssh_port": None}],
    }
    values.update(
        uuid=f"uuid-{name}", name=name, project=project, vm_state=VmState.ACTIVE, host="h1", flavor="m1.small"
    )
    values.update(image="debian-12", vcpus=1, memory_mib=512, ssh_host_key=KEY, metadata={}, plan=plan)
    values.update(changes)
    return GuestRow(**values)


def host(name: str = "h1", **variables: Any) -> HostRow:
    access = {"ansible_host": "10.0.0.1", "ansible_user": "admin"}
    return HostRow(name, True, "", True, "", None, None, "m", {}, 1.0, (), variables, access)


def inventory(*guests: GuestRow, zone: str | None = "a") -> dict[str, GuestHost]:
    hosts = [host(berth_availability_zone=zone) if zone else host()]
    return {each.name: each for each in guest_inventory(guests, hosts, lambda route: Path("/k") / route.uuid).hosts}


def test_variables_lead_to_the_guest_and_nowhere_else() -> None:
    (found,) = inventory(guest("web-1", metadata={"role": "web"})).values()
    variables = found.variables
    assert (variables["ansible_host"], variables["ansible_port"], variables["ansible_user"]) == (
        "192.168.150.11",
        22,
        "debian",
    )
    words = shlex.split(variables["ansible_ssh_common_args"])
    assert "StrictHostKeyChecking=yes" in words and 'UserKnownHostsFile="/k/uuid-web-1"' in words
    assert any(word.startswith("ProxyCommand=ssh ") and "10.0.0.1" in word for word in words)
    assert variables["berth_metadata"] == {"role": "web"} and variables["berth_zone"] == "a"


def test_equal_addresses_never_share_a_connection() -> None:
    found = inventory(guest("a", uuid="aaaaaaaa-0000"), guest("b", uuid="bbbbbbbb-0000"))
    assert found["a"].variables["ansible_host"] == found["b"].variables["ansible_host"]
    paths = {each.variables["ansible_control_path"] for each in found.values()}
    assert len(paths) == 2 and all((path % {"directory": "/d"}).startswith("/d/berth-") for path in paths)


def test_groups() -> None:
    found = inventory(guest("db", project="shop", metadata={"tier": "gold", "role": "db"}))
    assert found["shop.db"].groups == (
        "guests",
        "project_shop",
        "host_h1",
        "flavor_m1.small",
        "zone_a",
        "meta_role_db",
        "meta_tier_gold",
    )
    assert not any(group.startswith("zone_") for group in inventory(guest("a"), zone=None)["a"].groups)


@pytest.mark.parametrize("change", [{"vm_state": VmState.STOPPED}, {"vm_state": VmState.BUILDING}, {"host": None}])
def test_only_running_guests_are_hosts(change: dict[str, Any]) -> None:
    assert set(inventory(guest("on"), guest("off", **change))) == {"on"}


def test_a_running_guest_without_a_way_is_left_out_and_named() -> None:
    found = guest_inventory([guest("new", ssh_host_key=None)], [host()], lambda _route: Path("/k"))
    assert found.hosts == () and "guest new" in found.left_out[0]
