# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks on libvirt's own test driver: it parses, stores and starts them as the real one does.

It knows neither a stored definition apart from the live one nor dnsmasq's options; those are Molecule's business
(tests/molecule/host).
"""

from xml.etree import ElementTree

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_network import NetworkKind, problems, render, shape
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import ObjectError, ensure

LAN = {
    "name": "lan",
    "kind": "nat",
    "cidr": "192.168.150.0/24",
    "gateway": "192.168.150.1",
    "dns": ["192.168.150.1"],
    "dhcp": None,
    "bridge": None,
    "mtu": None,
}
LAB = {
    **LAN,
    "name": "lab",
    "kind": "routed",
    "cidr": "10.20.0.0/24",
    "gateway": "10.20.0.1",
    "dns": ["9.9.9.9", "10.20.0.1"],
    "dhcp": {"first": "10.20.0.100", "last": "10.20.0.199"},
    "bridge": "br-lab",
    "mtu": 1400,
}
SIX = {**LAN, "name": "six", "cidr": "fd00:1::/64", "gateway": "fd00:1::1", "dns": ["fd00:1::1"]}


class TestDriverKind(NetworkKind):
    """The test driver refuses the flag for the stored definition."""

    __test__ = False

    def stored_xml(self, handle):
        return handle.XMLDesc(0)


@pytest.fixture
def kind(tmp_path):
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    (tmp_path / "node.xml").write_text("<node/>")  # a file: unlike test:///default nobody else's
    connection = libvirt.open(f"test://{tmp_path}/node.xml")
    yield TestDriverKind(libvirt, connection)
    connection.close()


@pytest.mark.parametrize("network", [LAN, {**LAB, "dns": []}, SIX], ids=lambda each: each["name"])
def test_made_once_then_left_alone(kind, network):
    first = ensure(kind, network["name"], render(network), False)
    assert first.actions == ["define", "start", "autostart"]
    handle = kind.find(network["name"])
    assert (handle.isActive(), handle.autostart(), handle.isPersistent()) == (1, 1, 1)
    second = ensure(kind, network["name"], render(network), False)
    assert (second.changed, second.warning) == (False, None)


def test_what_is_written():
    root = ElementTree.fromstring(render(LAB))
    assert root.find("forward").get("mode") == "route"
    assert root.find("mtu").get("size") == "1400"
    assert root.find("dns").get("enable") == "yes"
    assert [(each.get("start"), each.get("end")) for each in root.iter("range")] == [("10.20.0.100", "10.20.0.199")]
    assert "dhcp-option=option:dns-server,9.9.9.9,10.20.0.1" in render(LAB)
    static = render(LAN)
    assert "dhcp" not in static
    assert 'enable="yes"' in static
    assert 'enable="no"' in render({**LAN, "dns": ["9.9.9.9"]})
    assert ElementTree.fromstring(render(SIX)).find("forward/nat").get("ipv6") == "yes"


def test_no_value_breaks_out_of_its_element():
    assert shape(render({**LAN, "bridge": '"/><forward mode="hostdev"/>'}))["forward"] == "nat"


def test_a_dry_run_makes_nothing(kind):
    outcome = ensure(kind, "lan", render(LAN), True)
    assert outcome.actions == ["define", "start", "autostart"]
    assert kind.find("lan") is None


def test_a_change_restarts_a_network_that_nobody_uses(kind):
    ensure(kind, "lab", render(LAB), False)
    uuid = kind.find("lab").UUIDString()
    wider = {**LAB, "dhcp": {"first": "10.20.0.50", "last": "10.20.0.199"}}
    dry = ensure(kind, "lab", render(wider), True)
    assert "10.20.0.50" in dry.diff()["after"]
    assert "10.20.0.50" not in dry.diff()["before"]
    outcome = ensure(kind, "lab", render(wider), False)
    assert outcome.actions == ["define", "restart"]
    handle = kind.find("lab")
    assert (handle.UUIDString(), handle.isActive()) == (uuid, 1)


def test_a_network_that_guests_use_is_not_restarted(kind, monkeypatch):
    ensure(kind, "lab", render(LAB), False)
    # The test driver counts no connections.
    monkeypatch.setattr(kind, "users", lambda _handle: 2)
    wider = render({**LAB, "mtu": 1500})
    outcome = ensure(kind, "lab", wider, False)
    assert outcome.actions == ["define"]
    assert "2 running guest" in outcome.warning
    again = ensure(kind, "lab", wider, False)
    assert again.actions == ["restart"] or again.warning


def test_stopped_by_hand_is_started_and_autostart_set_again(kind):
    ensure(kind, "lan", render(LAN), False)
    handle = kind.find("lan")
    handle.destroy()
    handle.setAutostart(0)
    assert ensure(kind, "lan", render(LAN), False).actions == ["start", "autostart"]
    assert not ensure(kind, "lan", render(LAN), False).changed


FOREIGN = """<network><name>lan</name><forward mode='nat'/><bridge name='virbr7'/>{extra}
<ip address='{address}' netmask='255.255.255.0'/></network>"""


def test_somebody_elses_network_is_used_when_it_is_as_wanted(kind):
    kind.define(FOREIGN.format(address="192.168.150.1", extra=""))
    outcome = ensure(kind, "lan", render(LAN), False)
    assert outcome.actions == ["start", "autostart"]


@pytest.mark.parametrize(
    ("address", "extra"),
    [
        ("192.168.151.1", ""),
        ("192.168.150.1", "<dns enable='no'/>"),
        ("192.168.150.1", "<mtu size='1300'/>"),
        ("192.168.150.1", "<route address='10.0.0.0' prefix='8' gateway='192.168.150.2'/>"),
    ],
)
def test_somebody_elses_network_is_refused_and_kept_when_it_differs(kind, address, extra):
    handle = kind.define(FOREIGN.format(address=address, extra=extra))
    before = handle.XMLDesc(0)
    with pytest.raises(ObjectError, match=r"network lan exists on this host and is not Berth's"):
        ensure(kind, "lan", render(LAN), False)
    assert kind.find("lan").XMLDesc(0) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({}, [], id="good"),
        pytest.param({"name": "../lan"}, ["name"], id="path in the name"),
        pytest.param({"cidr": "192.168.150.1/24"}, ["host bits"], id="host bits"),
        pytest.param({"gateway": "192.168.151.1"}, ["gateway"], id="gateway elsewhere"),
        pytest.param({"gateway": "192.168.150.255"}, ["gateway"], id="gateway is the broadcast address"),
        pytest.param({"bridge": "a" * 16}, ["1 to 15"], id="long bridge"),
        pytest.param({"bridge": "virbr0"}, ["libvirt gives"], id="libvirt's own bridge name"),
        pytest.param({"dns": ["nine", "9.9.9.9"]}, ["dns 'nine'"], id="dns"),
        pytest.param({"dhcp": {"first": "192.168.150.9", "last": "192.168.150.5"}}, ["above"], id="range turned round"),
        pytest.param(
            {"dhcp": {"first": "192.168.150.1", "last": "192.168.150.5"}}, ["holds the gateway"], id="gateway"
        ),
        pytest.param(
            {"dhcp": {"first": "10.0.0.1", "last": "10.0.0.5"}}, ["dhcp.first", "dhcp.last"], id="range elsewhere"
        ),
    ],
)
def test_problems(change, words):
    found = problems({**LAN, **change})
    assert len(found) == len(words)
    assert all(word in problem for word, problem in zip(words, found, strict=True))
