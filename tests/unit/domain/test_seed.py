# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import yaml

from berth.domain.seed import EMPTY_USER_DATA, seed_of


class ForeignString(str):
    """A string of another class, as Ansible's tagged ones are."""


def seed(plan, **differs):
    return seed_of({**plan, **differs}, "/i/seed.iso")


def test_a_static_network(plain):
    network = yaml.safe_load(seed(plain.plan)["network_config"])
    assert network == {
        "version": 2,
        "ethernets": {
            "id0": {
                "match": {"macaddress": "52:54:00:aa:00:01"},
                "dhcp4": False,
                "addresses": ["192.168.150.11/24"],
                "routes": [{"to": "0.0.0.0/0", "via": "192.168.150.1"}],
                "nameservers": {"addresses": ["192.168.150.1"]},
            }
        },
    }


def test_one_default_route_and_dhcp(all_cases):
    plans = {case.name: case.plan for case in all_cases}
    network = yaml.safe_load(seed(plans["bridges"])["network_config"])["ethernets"]
    assert network["id0"] == {"match": {"macaddress": "52:54:00:aa:00:02"}, "dhcp4": True, "mtu": 9000}
    assert "routes" in network["id1"]
    two = [{**plans["plain"]["networks"][0], "mac": f"52:54:00:aa:00:0{number}"} for number in (1, 2)]
    both = yaml.safe_load(seed(plans["plain"], networks=two)["network_config"])["ethernets"]
    assert ("routes" in both["id0"], "routes" in both["id1"]) == (True, False)


def test_a_mac_of_digits_stays_text(plain):
    network = {**plain.plan["networks"][0], "mac": "10:20:30:40:50:16"}
    text = seed(plain.plan, networks=[network])["network_config"]
    assert yaml.safe_load(text)["ethernets"]["id0"]["match"]["macaddress"] == "10:20:30:40:50:16"


def test_meta_data(plain):
    assert yaml.safe_load(seed(plain.plan)["meta_data"]) == {
        "instance-id": plain.plan["uuid"],
        "local-hostname": "web-1",
        "public-keys": plain.plan["public_keys"],
    }


@pytest.mark.parametrize("key", ["a\nuser: root", "#cloud-config", "x: {y: z}", "- a", "'\"", "é"])
def test_nothing_a_user_wrote_becomes_a_key(plain, key):
    meta = yaml.safe_load(seed(plain.plan, name=key, public_keys=[key])["meta_data"])
    assert meta == {"instance-id": plain.plan["uuid"], "local-hostname": key, "public-keys": [key]}


def test_user_data_is_verbatim_or_empty(plain):
    text = "#!/bin/sh\necho {{ not_a_template }} %s\n\n"
    assert seed(plain.plan, user_data=text)["user_data"] == text
    assert seed(plain.plan, user_data="")["user_data"] == ""
    assert seed(plain.plan)["user_data"] == EMPTY_USER_DATA


def test_strings_of_another_class_are_strings(plain):
    name = ForeignString("web-1")
    network = {**plain.plan["networks"][0], "mac": ForeignString("52:54:00:aa:00:01")}
    assert seed(plain.plan, name=name, networks=[network])["meta_data"] == seed(plain.plan)["meta_data"]


def test_passwords_do_not_log_in(plain):
    assert seed(plain.plan)["vendor_data"]["ssh_pwauth"] is False
