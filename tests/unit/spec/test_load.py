# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from berth.errors import InvalidInput
from berth.spec.load import load_catalog

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr me"
FLAVOR = "{name: a, vcpus: 1, memory_mib: 512, disk_gib: 4}"


def catalog_of(tmp_path: Path, **files: str | bytes) -> Path:
    folder = tmp_path / "catalog"
    folder.mkdir(exist_ok=True)
    for kind, content in files.items():
        (folder / f"{kind}.yml").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_catalog(folder)
    return [": ".join((problem["where"], problem["message"])) for problem in caught.value.data["problems"]]


def test_missing_files_are_empty_but_for_the_default_project(tmp_path: Path) -> None:
    catalog = load_catalog(tmp_path / "catalog")
    assert [list(kind) for kind in (catalog.flavors, catalog.images, catalog.networks, catalog.keypairs)] == [[]] * 4
    assert list(catalog.projects) == ["default"]
    assert catalog.projects["default"].quota.instances == -1


def test_a_default_project_of_the_file_wins(tmp_path: Path) -> None:
    folder = catalog_of(tmp_path, projects="projects: [{name: dev}, {name: default, quota: {cores: 4}}]")
    projects = load_catalog(folder).projects
    assert list(projects) == ["dev", "default"] and projects["default"].quota.cores == 4


def test_entries_keep_the_order_of_the_file(tmp_path: Path) -> None:
    text = "flavors:\n- &f {name: z, vcpus: 2, memory_mib: 512, disk_gib: 4}\n- {<<: *f, name: a, disk_gib: 8}\n"
    flavors = load_catalog(catalog_of(tmp_path, flavors=text)).flavors
    assert [(f.name, f.vcpus, f.disk_gib) for f in flavors.values()] == [("z", 2, 4), ("a", 2, 8)]


def test_the_catalog_does_not_change(tmp_path: Path) -> None:
    flavors = load_catalog(catalog_of(tmp_path, flavors=f"flavors: [{FLAVOR}]")).flavors
    with pytest.raises(TypeError):
        flavors["b"] = flavors["a"]  # type: ignore[index]


def test_a_key_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "me.pub").write_text(KEY + "\n")
    folder = catalog_of(tmp_path, keypairs="keypairs: [{name: me, public_key_file: me.pub}]")
    assert load_catalog(folder).keypairs["me"].public_key == KEY


def test_a_digest_is_read_from_a_sums_file(tmp_path: Path) -> None:
    (tmp_path / "SUMS").write_text(f"{'ab' * 32}  a.qcow2\n")
    folder = catalog_of(
        tmp_path, images="images: [{name: a, source: 'https://example.org/a.qcow2', sums: SUMS, format: qcow2}]"
    )
    image = load_catalog(folder).images["a"]
    assert image.digest == "sha256:" + "ab" * 32
    assert image.pull_item(tmp_path)["sums"] is None


# What is wrong -> (the file, its content, every mistake in it).
BAD: dict[str, tuple[str, str | bytes, list[str]]] = {
    "empty file": (
        "flavors",
        "",
        ["flavors.yml:1: is empty, allowed: a map with the key flavors, a list; or remove the file"],
    ),
    "list at the top": (
        "flavors",
        f"- {FLAVOR}",
        ["flavors.yml:1: found a list, allowed: a map with the key flavors, a list"],
    ),
    "word at the top": ("flavors", "a", ["flavors.yml:1: found 'a', allowed: a map with the key flavors, a list"]),
    "map in place of the list": (
        "flavors",
        f"flavors:\n  a: {FLAVOR}",
        ["flavors.yml:1: flavors: found a map, allowed: a list of entries"],
    ),
    "nothing in place of the list": (
        "flavors",
        "flavors:",
        ["flavors.yml:1: flavors: found nothing, allowed: a list of entries"],
    ),
    "key of the file": (
        "keypairs",
        "keypair: []",
        ["keypairs.yml:1: keypair: unknown key 'keypair'; did you mean keypairs?"],
    ),
    "word as an entry": ("flavors", "flavors: [a]", ["flavors.yml:1: flavors[0]: found 'a', allowed: a map of keys"]),
    "unknown keys and what they hide": (
        "flavors",
        "flavors:\n- name: a\n  vcpu: 1\n  memory_mib: 512\n  disk_gib: 4\n  colour: red\n",
        [
            "flavors.yml:2: flavors[0].vcpus: is missing, allowed: a whole number of virtual CPUs, at least 1",
            "flavors.yml:3: flavors[0].vcpu: unknown key 'vcpu'; did you mean vcpus?",
            "flavors.yml:6: flavors[0].colour: unknown key 'colour'; known keys: disk_gib, extra_specs, firmware, "
            "machine, memory_mib, name, on_host_boot, properties, vcpus",
        ],
    ),
    "values of all kinds": (
        "flavors",
        "flavors:\n- name: yes\n  vcpus: 1.5\n  memory_mib: -5\n  disk_gib: .nan\n  machine: q36\n  firmware: [bios]\n",
        [
            "flavors.yml:2: flavors[0].name: found yes (YAML reads it as true), allowed: text; put it in quotes",
            "flavors.yml:3: flavors[0].vcpus: found 1.5, allowed: a whole number",
            "flavors.yml:4: flavors[0].memory_mib: found -5, allowed: a whole number of at least 1",
            "flavors.yml:5: flavors[0].disk_gib: found '.nan', allowed: a whole number",
            "flavors.yml:6: flavors[0].machine: found 'q36', allowed: q35, pc; did you mean q35?",
            "flavors.yml:7: flavors[0].firmware: found a list, allowed: bios, efi",
        ],
    ),
    "maps of properties": (
        "flavors",
        f"flavors:\n- <<: &f {FLAVOR}\n  properties: {{hw_a: 1, b: c}}\n  extra_specs: 5\n",
        [
            "flavors.yml:3: flavors[0].properties.hw_a: found 1, allowed: text; put it in quotes",
            "flavors.yml:3: flavors[0].properties.b: found the key 'b', allowed: names beginning with hw_ or os_, of "
            "lower-case letters, digits and underscore",
            "flavors.yml:4: flavors[0].extra_specs: found 5, allowed: a map of keys",
        ],
    ),
    "extra specs that nothing reads": (
        "flavors",
        f"flavors:\n- <<: &f {FLAVOR}\n  extra_specs:\n    hw:cpu_polcy: dedicated\n    resources:VGPU: '1'\n",
        [
            "flavors.yml:4: flavors[0].extra_specs.hw:cpu_polcy: found the key 'hw:cpu_polcy', allowed: the extra "
            "specs of docs/placement.md; did you mean hw:cpu_policy?",
            "flavors.yml:5: flavors[0].extra_specs.resources:VGPU: found the key 'resources:VGPU', allowed: the extra "
            "specs of docs/placement.md; Nova knows resources:VGPU, Berth does not implement it",
        ],
    ),
    "names taken": (
        "flavors",
        f"flavors:\n- {FLAVOR}\n- {FLAVOR}\n- {FLAVOR.replace('name: a', 'name: A')}\n",
        [
            "flavors.yml:3: flavors[1].name: found 'a', which line 2 has, allowed: a name of its own",
            "flavors.yml:4: flavors[2].name: found 'A', which line 2 has, allowed: a name of its own",
        ],
    ),
    "key twice": (
        "flavors",
        f"flavors:\n- {FLAVOR.replace('}', ', vcpus: 2}')}",
        ["flavors.yml:2: flavors[0].vcpus: key 'vcpus' is given twice, first on line 2"],
    ),
    "nested unknown key": (
        "projects",
        "projects: [{name: p, quota: {core: 1}}]",
        ["projects.yml:1: projects[0].quota.core: unknown key 'core'; did you mean cores?"],
    ),
    "default network": (
        "projects",
        "projects: [{name: p, default_network: lan}]",
        ["projects.yml:1: projects[0].default_network: network 'lan' is not in the catalog; known: none"],
    ),
    "networks that share": (
        "networks",
        "networks:\n"
        "- {name: a, kind: nat, cidr: 10.1.0.0/16, bridge: br1}\n"
        "- {name: b, kind: routed, cidr: 10.1.2.0/24, bridge: br1}\n"
        "- {name: c, kind: bridge, cidr: 10.1.2.0/24, bridge: br1}\n",
        [
            "networks.yml:3: networks[1].cidr: found 10.1.2.0/24, which overlaps 10.1.0.0/16 of network a on line 2, "
            "allowed: addresses of its own",
            "networks.yml:3: networks[1].bridge: found 'br1', which is the bridge of network a on line 2, "
            "allowed: a bridge of its own",
        ],
    ),
    "range": (
        "networks",
        "networks:\n- name: a\n  kind: nat\n  cidr: 10.1.0.0/24\n  range:\n    first: 10.1.0.1\n    last: 10.1.0.9\n",
        [
            "networks.yml:5: networks[0].range: found first: 10.1.0.1, last: 10.1.0.9, "
            "allowed: a range that does not hold 10.1.0.1, the gateway"
        ],
    ),
    "file that is not there": (
        "keypairs",
        "keypairs: [{name: me, public_key_file: me.pub}]",
        ["keypairs.yml:1: keypairs[0].public_key_file: 'me.pub' cannot be read: No such file or directory"],
    ),
    "neither key nor file": (
        "keypairs",
        "keypairs: [{name: me}]",
        [
            "keypairs.yml:1: keypairs[0].public_key: found '', allowed: one line of an OpenSSH public key, such as "
            "`ssh-ed25519 AAAA... me`, of type ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, "
            "ecdsa-sha2-nistp521, ssh-rsa, sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com"
        ],
    ),
    "sums file that is not there": (
        "images",
        "images: [{name: a, source: 'https://h/a', sums: SUMS, format: raw}]",
        ["images.yml:1: images[0].sums: 'SUMS' cannot be read: No such file or directory"],
    ),
}


@pytest.mark.parametrize(("kind", "content", "expected"), BAD.values(), ids=BAD)
def test_mistakes(tmp_path: Path, kind: str, content: str | bytes, expected: list[str]) -> None:
    assert mistakes(catalog_of(tmp_path, **{kind: content})) == [f"catalog/{text}" for text in expected]


def test_all_files_are_reported_in_order(tmp_path: Path) -> None:
    folder = catalog_of(
        tmp_path,
        flavors=f"flavors:\n- {FLAVOR}\n- {{name: b}}\n",
        images=b"images: \xff",
        networks="networks:\n\t- a",
        keypairs="keypairs: [",
        projects="projects: 5",
    )
    found = mistakes(folder)
    assert [text.split(" ")[0] for text in found] == [
        *["catalog/flavors.yml:3:"] * 3,
        "catalog/images.yml:1:",
        "catalog/networks.yml:2:",
        "catalog/keypairs.yml:2:",
        "catalog/projects.yml:1:",
    ]


def test_a_broken_file_says_nothing_about_its_entries(tmp_path: Path) -> None:
    folder = catalog_of(tmp_path, flavors="flavors: [\n")
    assert len(mistakes(folder)) == 1


def test_a_network_with_mistakes_still_counts_as_known(tmp_path: Path) -> None:
    folder = catalog_of(
        tmp_path,
        networks="networks: [{name: lan, kind: nat, cidr: 10.0.0.1/24}]",
        projects="projects: [{name: p, default_network: lan}]",
    )
    assert [text.split(":")[0] for text in mistakes(folder)] == ["catalog/networks.yml"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "found a private key, allowed: a file with one line"),
        (b"x" * 20_000, "larger than 16384 bytes"),
        (b"\xff\xfe", "cannot be read"),
    ],
    ids=["private key", "large file", "not text"],
)
def test_files_that_hold_no_public_key(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "me").write_bytes(content)
    (text,) = mistakes(catalog_of(tmp_path, keypairs="keypairs: [{name: me, public_key_file: me}]"))
    assert said in text and "c2VjcmV0" not in text


def test_a_private_key_is_not_repeated(tmp_path: Path) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\\nc2VjcmV0"
    (text,) = mistakes(catalog_of(tmp_path, keypairs=f'keypairs: [{{name: me, public_key: "{key}"}}]'))
    assert "found a private key, allowed:" in text and "c2VjcmV0" not in text


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    text = "images: [{name: a, format: raw, digest: 'sha256:%s', source: 'https://me:s3cret@h/a'}]" % ("ab" * 32)
    (found,) = mistakes(catalog_of(tmp_path, images=text))
    assert "https://...@h/a" in found and "s3cret" not in found


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (catalog_of(tmp_path) / "flavors.yml").mkdir()
    assert mistakes(tmp_path / "catalog") == ["catalog/flavors.yml: cannot be read: Is a directory"]
