# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of a guest's NoCloud seed. Built as data and dumped, so nothing a user wrote can become a key.

Source: cloud-init documentation, "NoCloud", "Networking config Version 2" and "Vendor-data".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

EMPTY_USER_DATA = "#cloud-config\n{}\n"


def seed_of(plan: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns the seed of docs/data.md, section 2. The host adds its SSH host key to vendor_data."""
    return {
        "path": path,
        "meta_data": meta_data(plan),
        "user_data": EMPTY_USER_DATA if plan.get("user_data") is None else plan["user_data"],
        "network_config": network_config(plan["networks"]),
        "vendor_data": vendor_data(),
    }


def meta_data(plan: Mapping[str, Any]) -> str:
    """Returns meta-data: the identity, the host name and the keys of the image's own user."""
    return _dump(
        {
            "instance-id": plan["uuid"],
            "local-hostname": plan["name"],
            "public-keys": list(plan.get("public_keys") or []),
        }
    )


def network_config(networks: list[Mapping[str, Any]]) -> str:
    """Returns network-config, version 2; each interface is found by its MAC, whatever the guest names it.

    The first network with a gateway has the default route: two of them would fight.
    """
    routed = next((index for index, network in enumerate(networks) if network.get("gateway")), None)
    ethernets = {
        f"id{index}": _ethernet(network, is_default_route=index == routed) for index, network in enumerate(networks)
    }
    return _dump({"version": 2, "ethernets": ethernets})


def vendor_data() -> dict[str, Any]:
    """Returns the settings below the user's own: keys only, and a host name that resolves to itself."""
    return {"ssh_pwauth": False, "manage_etc_hosts": "localhost"}


def _ethernet(network: Mapping[str, Any], *, is_default_route: bool) -> dict[str, Any]:
    ethernet: dict[str, Any] = {"match": {"macaddress": network["mac"].lower()}}
    if network["assignment"] == "dhcp":
        ethernet["dhcp4"] = True
    else:
        ethernet["dhcp4"] = False
        ethernet["addresses"] = [f"{network['address']}/{network['prefix']}"]
        if is_default_route:
            # Not gateway4, which netplan deprecates; not the word `default`, which older renderers do not know.
            ethernet["routes"] = [{"to": "0.0.0.0/0", "via": network["gateway"]}]
        if network.get("dns"):
            ethernet["nameservers"] = {"addresses": list(network["dns"])}
    if network.get("mtu"):
        ethernet["mtu"] = network["mtu"]
    return ethernet


def _dump(data: Mapping[str, Any]) -> str:
    # Ansible hands over strings of a class of its own, which YAML's dumper does not know.
    plain = json.loads(json.dumps(data))
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=False, allow_unicode=False, width=10_000)
