# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of network: a guest on each, reached over SSH."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.cloud import LabCloud

pytestmark = pytest.mark.lab

BRIDGE = "br-data"


@pytest.fixture(scope="module")
def networks(cloud: LabCloud) -> Iterator[LabCloud]:
    """The cloud with a network on a bridge of the hosts, over the lab's data link, which this machine is on as well."""
    gateway = cloud.lab.layout.gateways[1]
    start = gateway.rsplit(".", 1)[0]
    cloud.add(
        "networks",
        {
            "name": "data", "kind": "bridge", "bridge": BRIDGE, "cidr": f"{start}.0/24", "gateway": gateway,
            "range": {"first": f"{start}.200", "last": f"{start}.220"},
        },
    )  # fmt: skip
    for host in cloud.lab.hosts:
        host.exec(
            f"ip link add {BRIDGE} type bridge forward_delay 0 && ip link set data0 master {BRIDGE} up"
            f" && ip link set {BRIDGE} up"
        )
    yield cloud
    cloud.delete_all()
    cloud.remove("networks", "data")
    for host in cloud.lab.hosts:
        host.exec(f"ip link del {BRIDGE}")


def test_a_guest_on_every_kind_of_network_is_reached(networks: LabCloud) -> None:
    cloud, before = networks, networks.inventory()
    places = {"lan": "h1", "leased": "h2", "data": "h3", "slirp": "h1"}
    for network, host in places.items():
        cloud.berth(
            "boot", network, "--flavor", "m1.tiny", "--image", "tiny", "--network", network, "--key-name", "me",
            "--host", host,
        )  # fmt: skip
    two = ("--network", "lan", "--network", "data", "--host", "h2")
    cloud.berth("boot", "both", "--flavor", "m1.tiny", "--image", "tiny", *two, "--key-name", "me")

    cloud.wait(*places, "both")
    assert [cloud.ssh(name, "hostname").strip() for name in (*places, "both")] == [*places, "both"]

    shown = {name: cloud.guest(name) for name in (*places, "both")}
    assert shown["lan"]["addresses"][0].startswith("192.168.150.")
    assert shown["data"]["addresses"][0].endswith((".200", ".201"))
    assert shown["slirp"]["networks"][0]["ssh_port"] and "10.0.2." in cloud.ssh("slirp", "ip -4 -o addr")
    assert "192.168.151." in cloud.ssh("leased", "ip -4 -o addr")
    inside = cloud.ssh("both", "ip -4 -o addr; ip route")
    assert all(f" {address}/24 " in inside for address in shown["both"]["addresses"])
    assert inside.count("default via") == 1
    # Guests on one bridge reach each other, whatever their hosts.
    assert cloud.ssh("both", f"ping -c 1 -W 5 {shown['data']['addresses'][0]} >/dev/null && echo there") == "there\n"

    cloud.berth("delete", "--yes", *shown)
    # A lease ends by itself: libvirt cannot take one back.
    assert [line for line in before.lines(cloud.inventory()) if " leases: + " not in line] == []
