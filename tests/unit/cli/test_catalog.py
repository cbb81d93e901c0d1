# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from berth.cli.catalog import flavor_app, image_app, network_app
from berth.cli.context import CliContext
from berth.cli.init import make_cloud
from berth.errors import InvalidInput, NotFound

APPS = {"flavor": flavor_app, "image": image_app, "network": network_app}


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    return make_cloud(tmp_path / "cloud", None, tmp_path).cloud


def run(cloud: Path, noun: str, *arguments: str) -> str:
    result = CliRunner().invoke(APPS[noun], arguments, obj=CliContext(cloud), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_flavor_list(cloud: Path) -> None:
    assert run(cloud, "flavor", "list").splitlines() == [
        "NAME       VCPUS  MEMORY MIB  DISK GIB  MACHINE  FIRMWARE",
        "m1.tiny    1      256         1         q35      bios",
        "m1.small   1      1024        10        q35      bios",
        "m1.medium  2      4096        20        q35      bios",
    ]


def test_network_list(cloud: Path) -> None:
    assert run(cloud, "network", "list").splitlines()[1].split() == [
        *("lan", "nat", "192.168.150.0/24", "192.168.150.1", "static"),
        *("192.168.150.2", "-", "192.168.150.254"),
    ]


def test_image_list(cloud: Path) -> None:
    names = [line.split()[0] for line in run(cloud, "image", "list").splitlines()]
    assert names == ["NAME", "debian-12", "debian-13", "ubuntu-24.04", "tiny"]


def test_show_as_json_is_the_whole_entry(cloud: Path) -> None:
    shown = json.loads(run(cloud, "network", "show", "lan", "--format", "json"))
    assert shown == {
        "name": "lan",
        "kind": "nat",
        "assignment": "static",
        "cidr": "192.168.150.0/24",
        "gateway": "192.168.150.1",
        "dns": ["192.168.150.1"],
        "range": {"first": "192.168.150.2", "last": "192.168.150.254"},
        "bridge": None,
        "mtu": None,
    }


@pytest.mark.parametrize(("noun", "name"), [("flavor", "m1.small"), ("image", "tiny"), ("network", "lan")])
def test_list_and_show_tell_the_same(cloud: Path, noun: str, name: str) -> None:
    listed = {row["name"]: row for row in json.loads(run(cloud, noun, "list", "-f", "json"))}
    assert json.loads(run(cloud, noun, "show", name, "-f", "json")) == listed[name]
    assert run(cloud, noun, "show", name).splitlines()[1].split() == ["name", name]


@pytest.mark.parametrize(
    ("noun", "name", "meant"),
    [("flavor", "m1.smal", "m1.small"), ("image", "debian12", "debian-12"), ("network", "LAN", "lan")],
)
def test_an_unknown_name(cloud: Path, noun: str, name: str, meant: str) -> None:
    with pytest.raises(NotFound) as caught:
        run(cloud, noun, "show", name)
    assert f"{noun} {name!r} is not in " in caught.value.message
    assert caught.value.message.endswith(f"did you mean {meant}?")
    assert caught.value.hint == f"`berth {noun} list` shows what there is"


def test_a_broken_catalog(cloud: Path) -> None:
    (cloud / "catalog/images.yml").write_text("images: [5]")
    with pytest.raises(InvalidInput, match=r"catalog/images\.yml:1: images\[0\]: found 5"):
        run(cloud, "flavor", "list")


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_help_names_both_verbs(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "list" in shown and "show" in shown
