# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from berth.errors import InvalidInput, NotFound
from berth.spec.catalog import Catalog
from berth.spec.load import load_catalog
from berth.spec.request import BootRequest, guest_names, parse_boot_request, request_digest, resolve

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
FILES = {
    "flavors": """\
flavors:
- {name: m1.small, vcpus: 1, memory_mib: 512, disk_gib: 4, properties: {hw_disk_bus: scsi}, on_host_boot: start}
- {name: m1.tiny, vcpus: 1, memory_mib: 64, disk_gib: 1}
- {name: m1.own, vcpus: 1, memory_mib: 512, disk_gib: 0}
""",
    "images": """\
images:
- {name: debian-12, source: images/d, format: raw, min_disk_gib: 3, min_memory_mib: 256,
   properties: {hw_disk_bus: virtio, os_type: linux}}
""",
    "networks": """\
networks:
- {name: lan, kind: nat, cidr: 10.1.0.0/24}
- {name: wan, kind: nat, cidr: 10.2.0.0/24}
""",
    "keypairs": f"keypairs: [{{name: me, public_key: {KEY} me}}, {{name: you, public_key: {KEY} you}}]",
    "projects": "projects: [{name: dev, default_network: wan}]",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    for kind, text in FILES.items():
        (catalog / f"{kind}.yml").write_text(text)
    return catalog


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return load_catalog(folder)


def request(**given: Any) -> BootRequest:
    return parse_boot_request({"name": "web", "flavor": "m1.small", "image": "debian-12", **given}, "request")


def mistakes(**given: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        request(**given)
    return [f"{problem['where']}: {problem['message']}" for problem in caught.value.data["problems"]]


def test_defaults() -> None:
    asked = request()
    assert (asked.count, asked.project, asked.networks, asked.partial) == (1, "default", (), False)
    assert asked.hints.force_host is None and asked.group is None and asked.on_host_boot is None


@pytest.mark.parametrize(("count", "names"), [(1, ("web",)), (2, ("web-1", "web-2")), (3, ("web-1", "web-2", "web-3"))])
def test_guest_names(count: int, names: tuple[str, ...]) -> None:
    assert guest_names(request(count=count)) == names


def test_a_group_is_a_name_or_a_map() -> None:
    by_name = request(group="web").group
    by_map = request(group={"name": "web", "policy": "anti-affinity", "max_server_per_host": 2}).group
    assert by_name is not None and (by_name.name, by_name.policy) == ("web", None)
    assert by_map is not None and (by_map.policy, by_map.max_server_per_host) == ("anti-affinity", 2)


def test_keys_are_taken_once_and_in_order() -> None:
    assert request(key_name="you", key_names=["me", "you"]).all_key_names == ("you", "me")


# What is wrong -> (the request, every mistake in it).
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "typo": (
        {"flavour": "a", "hints": {"force_hosts": "h1"}},
        [
            "request: hints.force_hosts: unknown key 'force_hosts'; did you mean force_host?",
            "request: flavour: unknown key 'flavour'; did you mean flavor?",
        ],
    ),
    "types": (
        {"count": "3", "networks": "lan", "metadata": {"a": 1}, "partial": "yes"},
        [
            "request: count: found '3', allowed: a whole number",
            "request: networks: found 'lan', allowed: a list",
            "request: metadata.a: found 1, allowed: text; put it in quotes",
            "request: partial: found 'yes', allowed: true or false",
        ],
    ),
    "count": ({"count": 1001}, ["request: count: found 1001, allowed: a whole number of at most 1000"]),
    "no guests": ({"count": 0}, ["request: count: found 0, allowed: a whole number of at least 1"]),
    "numbered names too long": (
        {"name": "x" * 62, "count": 10},
        [f"request: count: found 10, allowed: 1, because {'x' * 62}-10 is longer than the 63 characters of a name"],
    ),
    "missing": (
        {"image": None},
        ["request: image: found nothing, allowed: text"],
    ),
    "policy": (
        {"group": {"name": "g", "policy": "antiaffinity"}},
        [
            "request: group.policy: found 'antiaffinity', allowed: affinity, anti-affinity, soft-affinity, "
            "soft-anti-affinity; did you mean anti-affinity?"
        ],
    ),
    "limit of a group without anti-affinity": (
        {"group": {"name": "g", "policy": "affinity", "max_server_per_host": 2}},
        ["request: group.max_server_per_host: found 2, allowed: nothing here, unless policy is anti-affinity"],
    ),
    "network name": (
        {"networks": ["lan", "../etc"]},
        [
            "request: networks[1]: found '../etc', allowed: 1 to 63 of letters, digits, dot, dash and underscore, "
            "not beginning with a dot or a dash"
        ],
    ),
    "host": (
        {"hints": {"force_host": "a b"}},
        ["request: hints.force_host: found 'a b', allowed: the name of a host of the inventory"],
    ),
    "hints, every one": (
        {
            "availability_zone": "a:",
            "profile": "a b",
            "hints": {
                "force_host": "h1",
                "force_node": "h2",
                "destination": "h3",
                "different_host": ["web", "W"],
                "build_near_host_ip": "10.0.0",
                "query": '["=", 1',
            },
        },
        [
            "request: availability_zone: found 'a:', allowed: a zone, ZONE:HOST or :HOST",
            "request: hints.force_node: found 'h2', allowed: h1 or nothing, because that host is forced",
            "request: hints.destination: found 'h3', allowed: h1 or nothing, because that host is forced",
            "request: hints.different_host[1]: found 'W', allowed: the name or the UUID of a guest",
            "request: hints.build_near_host_ip: found '10.0.0', allowed: an IP address",
            "request: hints.query: found '[\"=\", 1', allowed: a JSON list such as "
            '[">=", "$free_ram_mb", 1024]; no JSON list: Expecting \',\' delimiter: line 1 column 8 (char 7)',
            "request: profile: found 'a b', allowed: 1 to 63 of letters, digits, dot, dash and underscore, "
            "not beginning with a dot or a dash",
        ],
    ),
    "cidr": (
        {"hints": {"build_near_host_ip": "10.0.0.1", "cidr": "/33"}},
        ["request: hints.cidr: found '/33', allowed: a prefix length from /0 to /32"],
    ),
    "cidr without an address": (
        {"hints": {"cidr": "/24"}},
        ["request: hints.cidr: found '/24', allowed: nothing here without build_near_host_ip"],
    ),
    "another host than the zone's": (
        {"availability_zone": "a:h1", "hints": {"destination": "h2"}},
        ["request: hints: found destination: h2, allowed: no other host than h1, which availability_zone forces"],
    ),
    "query operators": (
        {"hints": {"query": ["near", ["=", {}]]}},
        [
            "request: hints.query: found near, ['=', {}], allowed: a JSON list such as "
            '[">=", "$free_ram_mb", 1024]; unknown operator \'near\'; known: = < > <= >= in not or and; '
            "a map is no operand: {}"
        ],
    ),
    "control character": (
        {"metadata": {"a": "b\x00"}},
        ["request: metadata.a: found 'b\\x00', allowed: text of printable characters on one line"],
    ),
}


def test_a_deep_query_is_refused() -> None:
    query: list[Any] = []
    for _ in range(40):
        query = ["not", query, ["="]]
    assert "more than 32 levels deep" in mistakes(hints={"query": query})[0]


def test_hosts_are_forced_by_zone_or_hint() -> None:
    assert (request(availability_zone="a:h1").zone, request(availability_zone="a:h1").forced_host) == ("a", "h1")
    assert (request(availability_zone=":h1").zone, request(availability_zone="a").forced_host) == (None, None)
    assert request(hints={"force_node": "h2", "destination": "h2"}).forced_host == "h2"
    assert request(hints={"same_host": "web", "query": '["=", "$host", "h1"]'}).hints.query == ["=", "$host", "h1"]


@pytest.mark.parametrize(("given", "expected"), BAD.values(), ids=BAD)
def test_mistakes(given: dict[str, Any], expected: list[str]) -> None:
    assert mistakes(**given) == expected


@pytest.mark.parametrize("text", ["../x", "<a>", 'a"b', "a\nb", "Web", "a.b", ""])
def test_names_that_no_guest_may_have(text: str) -> None:
    (found,) = mistakes(name=text)
    assert found.startswith(f"request: name: found {text!r}, allowed: 1 to 63 of lower-case")


@pytest.mark.parametrize(
    "data", ["x" * 65536, "ü" * 40_000, "a\0b", 5], ids=["long", "long in bytes", "zero byte", "number"]
)
def test_user_data_is_bounded_and_never_repeated(data: Any) -> None:
    (found,) = mistakes(user_data=data)
    assert found.startswith("request: user_data: found a value that is not shown, allowed: text")


def test_a_list_is_no_request() -> None:
    with pytest.raises(InvalidInput, match="found a list, allowed: a map of keys"):
        parse_boot_request([], "request")  # type: ignore[arg-type]


def test_values_of_ansible_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "request.yml"
    file.write_text(
        "name: web\ncount: 2\nflavor: a\nimage: b\nnetworks: [lan]\nmetadata: {a: b}\nuser_data: |\n  {{ x }}\n"
    )
    asked = parse_boot_request(DataLoader().load_from_file(str(file)), "request")
    assert asked.model_dump(exclude_defaults=True) == {
        "name": "web",
        "count": 2,
        "flavor": "a",
        "image": "b",
        "networks": ("lan",),
        "metadata": {"a": "b"},
        "user_data": "{{ x }}\n",
    }
    assert {type(asked.name), type(asked.user_data), type(asked.networks[0])} == {str}


def test_places_of_the_request_are_shown() -> None:
    data = {"name": "web", "flavor": "a", "group": {"name": "g", "policy": "x"}, "coun": 2}
    places = {"": "request.yml:1", "group": "request.yml:3", "group.policy": "request.yml:4", "coun": "request.yml:9"}
    with pytest.raises(InvalidInput) as caught:
        parse_boot_request(data, "request", places)
    assert [problem["where"] for problem in caught.value.data["problems"]] == [
        "request.yml:1: image",
        "request.yml:4: group.policy",
        "request.yml:9: coun",
    ]


def test_resolve(catalog: Catalog) -> None:
    found = resolve(request(networks=["wan", "lan"], key_names=["you", "me"]), catalog)
    assert (found.flavor.name, found.image.name, found.project.name) == ("m1.small", "debian-12", "default")
    assert [network.name for network in found.networks] == ["wan", "lan"]
    assert [key.name for key in found.keys] == ["you", "me"]


def test_the_flavor_speaks_over_the_image_and_the_request_over_the_flavor(catalog: Catalog) -> None:
    found = resolve(request(networks=["lan"]), catalog)
    assert found.properties == {"hw_disk_bus": "scsi", "os_type": "linux"}
    assert found.on_host_boot == "start"
    assert resolve(request(networks=["lan"], on_host_boot="leave"), catalog).on_host_boot == "leave"


def test_networks_not_given(catalog: Catalog, folder: Path) -> None:
    assert [network.name for network in resolve(request(project="dev"), catalog).networks] == ["wan"]
    with pytest.raises(InvalidInput, match=r"no network given, allowed: one or more of the catalog's \(lan, wan\)"):
        resolve(request(), catalog)
    (folder / "networks.yml").write_text("networks: [{name: wan, kind: user}]")
    assert [network.name for network in resolve(request(), load_catalog(folder)).networks] == ["wan"]


def test_every_unknown_name_is_told_at_once(catalog: Catalog) -> None:
    asked = request(flavor="m1.smal", image="debian-13", networks=["lann"], key_name="mee", project="zzz")
    with pytest.raises(NotFound) as caught:
        resolve(asked, catalog)
    assert list(caught.value.details) == [
        "flavor 'm1.smal' is not in the catalog; did you mean m1.small?",
        "image 'debian-13' is not in the catalog; did you mean debian-12?",
        "project 'zzz' is not in the catalog; known: default, dev",
        "network 'lann' is not in the catalog; did you mean lan?",
        "key pair 'mee' is not in the catalog; did you mean me?",
    ]
    assert caught.value.exit_code == 3


def test_too_small_for_the_image(catalog: Catalog) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve(request(flavor="m1.tiny", networks=["lan"], key_name="mee"), catalog)
    assert list(caught.value.details) == [
        "key pair 'mee' is not in the catalog; did you mean me?",
        "flavor m1.tiny: disk_gib 1 is below min_disk_gib 3 of image debian-12; choose a larger flavor",
        "flavor m1.tiny: memory_mib 64 is below min_memory_mib 256 of image debian-12; choose a larger flavor",
    ]
    assert caught.value.exit_code == 2


def test_a_flavor_with_the_images_own_size_fits(catalog: Catalog) -> None:
    assert resolve(request(flavor="m1.own", networks=["lan"]), catalog).flavor.disk_gib == 0


def digest(catalog: Catalog, **given: Any) -> str:
    return request_digest(resolve(request(**{"networks": ["lan"], **given}), catalog))


SAME: list[dict[str, Any]] = [
    {"name": "db"},
    {"count": 5},
    {"partial": True},
    {"project": "default"},
    {"on_host_boot": "start"},
]
OTHER: list[dict[str, Any]] = [
    {"flavor": "m1.own"},
    {"networks": ["wan"]},
    {"networks": ["lan", "wan"]},
    {"networks": ["wan", "lan"]},
    {"key_name": "me"},
    {"key_name": "you"},
    {"project": "dev"},
    {"availability_zone": "z1"},
    {"group": "g"},
    {"group": {"name": "g", "policy": "affinity"}},
    {"hints": {"force_host": "h1"}},
    {"hints": {"destination": "h1"}},
    {"hints": {"query": ["=", "$host", "h1"]}},
    {"profile": "pack"},
    {"user_data": "#cloud-config"},
    {"metadata": {"a": "b"}},
    {"on_host_boot": "leave"},
]


@pytest.mark.parametrize("given", SAME, ids=str)
def test_requests_for_the_same_guests(catalog: Catalog, given: dict[str, Any]) -> None:
    assert digest(catalog, **given) == digest(catalog)


def test_requests_for_other_guests(catalog: Catalog) -> None:
    digests = [digest(catalog), *(digest(catalog, **given) for given in OTHER)]
    assert len(set(digests)) == len(OTHER) + 1


def test_the_digest_does_not_hang_on_the_order_of_keys(catalog: Catalog) -> None:
    assert digest(catalog, metadata={"a": "1", "b": "2"}) == digest(catalog, metadata={"b": "2", "a": "1"})


def test_an_edit_of_the_catalog_makes_another_request(catalog: Catalog, folder: Path) -> None:
    before = digest(catalog)
    (folder / "flavors.yml").write_text(FILES["flavors"].replace("memory_mib: 512", "memory_mib: 513"))
    assert digest(load_catalog(folder)) != before


def test_the_digest_stays_what_it_was(catalog: Catalog) -> None:
    """Ledgers keep it: a change of this value makes every boot of an older cloud look like another one."""
    assert digest(catalog) == "sha256:f769927163d0d4f286c9750197fbe7d4f5e2cfec690ffadc95dd7910946bb1ea"
