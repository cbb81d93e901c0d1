# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from berth.errors import InvalidInput
from berth.verbs.fleet import fleet_members, uri_host

FACTS = {"default_ipv4": {"address": "192.0.2.9"}}
NAMES = {"h2.example.org": "192.0.2.22"}


@pytest.mark.parametrize(
    ("variables", "address", "names", "addresses"),
    [
        pytest.param(
            {"ansible_host": "192.0.2.1", "berth_migration_address": "10.0.0.1"},
            "10.0.0.1",
            ["h1"],
            ["192.0.2.1", "10.0.0.1"],
            id="own network for migration",
        ),
        pytest.param({"ansible_host": "192.0.2.1"}, "192.0.2.1", ["h1"], ["192.0.2.1"], id="the login address"),
        pytest.param(
            {"ansible_host": "h1.example.org", "ansible_facts": FACTS},
            "192.0.2.9",
            ["h1", "h1.example.org"],
            ["192.0.2.9"],
            id="a name: what the host says of its default route",
        ),
        pytest.param(
            {"ansible_facts": {"default_ipv4": {}, "default_ipv6": {"address": "fd00::9"}}},
            "fd00::9",
            ["h1"],
            ["fd00::9"],
            id="IPv6 only",
        ),
        pytest.param(
            {"ansible_host": "127.0.0.1", "berth_migration_address": "10.0.0.1"},
            "10.0.0.1",
            ["h1"],
            ["10.0.0.1"],
            id="a forwarded port: loopback names nobody",
        ),
        pytest.param({"ansible_host": "127.0.0.1"}, "127.0.0.1", ["h1"], ["127.0.0.1"], id="one machine alone"),
        pytest.param(
            {
                "ansible_host": "192.0.2.1",
                "berth_host_certificate_name": "node-1",
                "berth_host_certificate_names": ["kvm1.example.org", "198.51.100.1"],
            },
            "192.0.2.1",
            ["node-1", "h1", "kvm1.example.org"],
            ["192.0.2.1", "198.51.100.1"],
            id="further names",
        ),
    ],
)
def test_address_and_names(variables, address, names, addresses):
    (member,) = fleet_members(["h1"], {"h1": variables}, ["h1"], resolve=NAMES.get)
    assert (member["address"], member["names"], member["addresses"]) == (address, names, addresses)
    assert member["certificate_name"] == names[0]


def test_a_silent_host_known_by_name_only_is_looked_up():
    hostvars = {"h1": {"ansible_host": "192.0.2.1"}, "h2": {"ansible_host": "h2.example.org"}}
    _, silent = fleet_members(["h1", "h2"], hostvars, ["h1", "h2"], resolve=NAMES.get)
    assert (silent["address"], silent["names"]) == ("192.0.2.22", ["h2", "h2.example.org"])
    assert silent["addresses"] == ["192.0.2.22"]


def test_a_host_that_spoke_is_not_looked_up():
    """It would listen on an address that it may not have."""
    (member,) = fleet_members(
        ["h2"], {"h2": {"ansible_host": "h2.example.org", "ansible_facts": {"default_ipv4": {}}}}, ["h2"], NAMES.get
    )
    assert member["address"] is None


def test_a_host_of_this_run_without_an_address_does_not_stop_the_others():
    hostvars = {"h1": {"ansible_host": "h1.example.org"}, "h2": {"ansible_host": "192.0.2.2"}}
    lost, member = fleet_members(["h1", "h2"], hostvars, ["h1", "h2"], resolve=NAMES.get)
    assert (lost["address"], lost["names"], lost["addresses"]) == (None, ["h1", "h1.example.org"], [])
    assert member["address"] == "192.0.2.2"


def test_every_host_outside_the_run_without_an_address_is_named():
    """Those that were not asked would be shut out although nothing is wrong with them."""
    hostvars = {"h1": {"ansible_host": "h1.example.org"}, "h2": {"ansible_host": "192.0.2.2"}, "h3": {}}
    with pytest.raises(InvalidInput) as caught:
        fleet_members(["h1", "h2", "h3"], hostvars, ["h2"], resolve=NAMES.get)
    assert [line.split(":")[0] for line in caught.value.details] == ["host h1", "host h3"]
    assert "berth_migration_address" in caught.value.hint


@pytest.mark.parametrize(("address", "text"), [("10.0.0.1", "10.0.0.1"), ("fd00::1", "[fd00::1]")])
def test_uri_host(address, text):
    assert uri_host(address) == text
