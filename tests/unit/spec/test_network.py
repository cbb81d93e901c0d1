# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given as property_given
from hypothesis import strategies as st
from pydantic import ValidationError

from berth.spec.network import Network


def network(**given: Any) -> Network:
    return Network.model_validate({"name": "lan", "kind": "nat", "cidr": "10.9.0.0/24", **given})


def test_defaults_of_nat() -> None:
    lan = network()
    assert (lan.gateway, lan.dns, lan.prefix, lan.assignment) == ("10.9.0.1", ("10.9.0.1",), 24, "static")
    assert lan.range is not None
    assert (lan.range.first, lan.range.last) == ("10.9.0.2", "10.9.0.254")


def test_defaults_of_user_mode_are_qemus() -> None:
    user = Network.model_validate({"name": "u", "kind": "user"})
    assert (user.cidr, user.gateway, user.dns) == ("10.0.2.0/24", "10.0.2.2", ("10.0.2.3",))
    assert user.range is not None
    assert (user.range.first, user.range.last) == ("10.0.2.15", "10.0.2.254")


def test_a_bridge_with_dhcp_needs_no_addresses() -> None:
    lan = Network.model_validate({"name": "b", "kind": "bridge", "bridge": "br0", "assignment": "dhcp"})
    assert (lan.cidr, lan.gateway, lan.dns, lan.range, lan.prefix) == (None, None, (), None, None)


def test_dns_is_not_guessed_for_a_bridge() -> None:
    assert network(kind="bridge", bridge="br0").dns == ()


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        pytest.param({"gateway": "10.9.0.254"}, "10.9.0.1", "10.9.0.253", id="gateway at the end"),
        pytest.param({"gateway": "10.9.0.100"}, "10.9.0.101", "10.9.0.254", id="longer side of the gateway"),
        pytest.param({"cidr": "10.9.0.0/30"}, "10.9.0.2", "10.9.0.2", id="one address"),
        pytest.param({"dns": ["10.9.0.2", "9.9.9.9", "fd00::1"]}, "10.9.0.3", "10.9.0.254", id="server inside"),
        pytest.param({"range": {"first": "10.9.0.50", "last": "10.9.0.50"}}, "10.9.0.50", "10.9.0.50", id="given"),
    ],
)
def test_range(given: dict[str, Any], first: str, last: str) -> None:
    span = network(**given).range
    assert span is not None
    assert (span.first, span.last) == (first, last)


# What is wrong -> (entry, the key at fault, words of what is allowed).
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no cidr": ({"cidr": None}, "cidr", "192.168.150.0/24"),
    "cidr of version 6": ({"cidr": "fd00::/64"}, "cidr", "IPv4"),
    "cidr of words": ({"cidr": "lan"}, "cidr", "IPv4"),
    "host bits": ({"cidr": "10.9.0.7/24"}, "cidr", "did you mean 10.9.0.0/24?"),
    "no prefix": ({"cidr": "10.9.0.0"}, "cidr", "prefix from /8 to /30"),
    "too small": ({"cidr": "10.9.0.0/31"}, "cidr", "prefix from /8 to /30"),
    "too large": ({"cidr": "10.0.0.0/7"}, "cidr", "prefix from /8 to /30"),
    "everything": ({"cidr": "0.0.0.0/0"}, "cidr", "prefix from /8 to /30"),
    "loopback": ({"cidr": "127.0.0.0/8"}, "cidr", "ordinary"),
    "link-local": ({"cidr": "169.254.0.0/16"}, "cidr", "ordinary"),
    "multicast": ({"cidr": "224.0.0.0/24"}, "cidr", "ordinary"),
    "gateway outside": ({"gateway": "10.8.0.1"}, "gateway", "inside 10.9.0.0/24"),
    "gateway is the network": ({"gateway": "10.9.0.0"}, "gateway", "inside"),
    "gateway is the broadcast": ({"gateway": "10.9.0.255"}, "gateway", "inside"),
    "gateway of words": ({"gateway": "first"}, "gateway", "IPv4 address"),
    "range holds the gateway": ({"range": {"first": "10.9.0.1", "last": "10.9.0.9"}}, "range", "10.9.0.1, the gateway"),
    "range holds a server": (
        {"dns": ["10.9.0.5"], "range": {"first": "10.9.0.2", "last": "10.9.0.9"}},
        "range",
        "10.9.0.5, a DNS server",
    ),
    "range outside": ({"range": {"first": "10.9.0.9", "last": "10.9.1.9"}}, "range", "inside 10.9.0.0/24"),
    "range to the broadcast": ({"range": {"first": "10.9.0.9", "last": "10.9.0.255"}}, "range", "inside"),
    "range backwards": ({"range": {"first": "10.9.0.9", "last": "10.9.0.8"}}, "range", "not below 10.9.0.9"),
    "no room": ({"cidr": "10.9.0.0/30", "dns": ["10.9.0.2"]}, "range", "room for guests"),
    "server by name": ({"dns": ["dns.example.org"]}, "dns", "IP addresses"),
    "bridge without a name": ({"kind": "bridge"}, "bridge", "br0"),
    "bridge name too long": ({"bridge": "x" * 16}, "bridge", "1 to 15"),
    "bridge name with a slash": ({"bridge": "../br0"}, "bridge", "interface name"),
    "bridge for user mode": ({"kind": "user", "bridge": "br0"}, "bridge", "no bridge"),
    "mtu": ({"mtu": 100}, "mtu", "576"),
    "kind": ({"kind": "bridged"}, "kind", "'nat', 'routed', 'bridge' or 'user'"),
}


@pytest.mark.parametrize(("given", "key", "allowed"), BAD.values(), ids=BAD)
def test_networks_that_do_not_hold(given: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(ValidationError) as caught:
        network(**given)
    (error,) = caught.value.errors()
    assert error["loc"][0] == key
    assert allowed in error["msg"]


def test_mistakes_of_one_entry_come_together() -> None:
    with pytest.raises(ValidationError) as caught:
        network(gateway="10.8.0.1", mtu=1, bridge="a b", range={"first": "10.9.0.9", "last": "10.9.1.9"})
    assert {error["loc"][0] for error in caught.value.errors()} == {"gateway", "mtu", "bridge"}


NUMBER = st.integers(0, 200)


@property_given(st.integers(8, 30), st.integers(0, 2**24 - 1), NUMBER, st.lists(NUMBER, max_size=3))
def test_the_default_range_is_free(prefix: int, base: int, gateway: int, servers: list[int]) -> None:
    cidr = IPv4Network((0x0A000000 | base, prefix), strict=False)
    gateway_address, *dns = (str(cidr[1 + number % (cidr.num_addresses - 2)]) for number in (gateway, *servers))
    given = {"cidr": str(cidr), "gateway": gateway_address, "dns": dns}
    try:
        lan = network(**given)
    except ValidationError as error:
        assert "room for guests" in str(error) and prefix >= 29
        return
    assert lan.range is not None
    first, last = IPv4Address(lan.range.first), IPv4Address(lan.range.last)
    assert cidr.network_address < first <= last < cidr.broadcast_address
    assert not any(first <= IPv4Address(taken) <= last for taken in (gateway_address, *dns))
