# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import pytest

from berth.cloud import Cloud, Settings
from berth.errors import InvalidInput, NotFound
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs.call import Call
from berth.verbs.host_prepare import READY, begin, finish

NETWORKS = """
networks:
- name: lan
  kind: nat
  cidr: 192.168.150.0/24
- name: lab
  kind: routed
  assignment: dhcp
  cidr: 10.20.0.0/24
  range: {first: 10.20.0.100, last: 10.20.0.199}
  dns: [9.9.9.9]
  mtu: 1400
- name: office
  kind: bridge
  assignment: dhcp
  bridge: br0
- name: demo
  kind: user
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "catalog").mkdir()
    inventory = {"compute": ["h1", "h2"], "hosts": {}, "groups": {"compute": {"vars": {}}}, "problems": []}
    return Call(cloud=Cloud(tmp_path, Settings()), inventory=inventory)


def test_networks_that_libvirt_makes_and_no_others(call, tmp_path):
    (tmp_path / "catalog" / "networks.yml").write_text(NETWORKS)
    outcome = begin(call)
    assert outcome["cloud"] == str(tmp_path)
    assert outcome["networks"] == [
        {
            "name": "lan",
            "kind": "nat",
            "cidr": "192.168.150.0/24",
            "gateway": "192.168.150.1",
            "dns": ["192.168.150.1"],
            "dhcp": None,
            "bridge": None,
            "mtu": None,
        },
        {
            "name": "lab",
            "kind": "routed",
            "cidr": "10.20.0.0/24",
            "gateway": "10.20.0.1",
            "dns": ["9.9.9.9"],
            "dhcp": {"first": "10.20.0.100", "last": "10.20.0.199"},
            "bridge": None,
            "mtu": 1400,
        },
    ]


def test_a_cloud_without_networks_asks_for_none(call):
    assert begin(call)["networks"] == []


def test_a_mistake_in_the_catalog_stops_before_any_host(call, tmp_path):
    (tmp_path / "catalog" / "networks.yml").write_text(NETWORKS.replace("kind: nat", "kind: natt"))
    with pytest.raises(InvalidInput, match="natt"):
        begin(call)


def test_a_host_that_is_not_there_is_named(call):
    assert begin(replace(call, request={"hosts": ["h2", "compute"]}))["cloud"] == str(call.cloud.path)
    with pytest.raises(NotFound, match="no compute host 'h33'"):
        begin(replace(call, request={"hosts": ["h2", "h33"]}))


def test_a_cloud_without_hosts_is_refused_with_where_to_list_them(call):
    empty = replace(call, inventory={**call.inventory, "compute": []})
    with pytest.raises(InvalidInput, match="no compute hosts") as caught:
        begin(empty)
    assert "inventory/hosts.yml" in caught.value.hint


def test_the_hosts_that_came_to_the_end_of_the_role(call):
    results = {"h1": {READY: True}, "h2": {}}
    assert finish(replace(call, results=results)) == {"changed": False, "prepared": ["h1"]}


def test_machine_ids_are_those_that_the_hosts_of_the_inventory_showed_last(call):
    assert begin(call)["machines"] == {} and not (call.cloud.path / "ledger.sqlite").exists()
    seen = {"h1": "m1", "h2": "m2", "gone": "m3"}
    for shown in (seen, {**seen, "h2": "new"}):  # h2 was installed anew: it is in quarantine, and this is what it is
        updates = [HostUpdate(name, facts={"machine_id": machine}) for name, machine in shown.items()]
        with Ledger.open(call.cloud.ledger_url) as ledger:
            ledger.store_hosts(Refresh([*updates, HostUpdate("silent", None, "no route")], {}, "", 1.0))
    inventory = {**call.inventory, "compute": ["h1", "h2", "silent", "h9"]}
    assert begin(replace(call, inventory=inventory))["machines"] == {"h1": "m1", "h2": "new"}
