# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from berth.cli import init as module
from berth.cli.init import FILES, SECRETS, TEMPLATES, init, make_cloud
from berth.cloud import Settings, find_cloud
from berth.errors import BerthError, Conflict, InvalidInput
from berth.placement import GuestRequest, Host, build_fleet, place
from berth.spec.load import load_catalog
from berth.verbs.placement_profiles import read_profiles

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr me@home"


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def ansible(cloud: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=cloud, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    return make_cloud(tmp_path / "cloud", None, tmp_path).cloud


def test_the_cloud_works_as_written(cloud: Path) -> None:
    catalog = load_catalog(cloud.resolve() / "catalog")
    assert list(catalog.flavors) == ["m1.tiny", "m1.small", "m1.medium"]
    assert list(catalog.images) == ["debian-12", "debian-13", "ubuntu-24.04", "tiny"]
    assert [(network.kind, network.cidr) for network in catalog.networks.values()] == [("nat", "192.168.150.0/24")]
    assert list(catalog.projects) == ["default"]
    profiles = read_profiles(find_cloud(cloud))
    assert (list(profiles.profiles), profiles.choose().name) == (["spread", "pack"], "spread")
    assert find_cloud(cloud).settings == Settings()


def test_the_pack_profile_fills_one_host_after_the_other(cloud: Path) -> None:
    pack = read_profiles(find_cloud(cloud)).choose(name="pack")
    host = Host("", facts_at=0.0, vcpus_total=4, memory_mib_total=8704, disk_mib_total=102400)
    small = GuestRequest("", "", vcpus=1, memory_mib=2048, disk_gib=4)

    def placed(hosts: list[Host], count: int) -> list[str]:
        guests = [replace(small, uuid=f"g{n}", name=f"g{n}") for n in range(count)]
        return [one.host for one in place(build_fleet(hosts), guests, pack, now_s=0.0).placements]

    equal = [replace(host, name=name) for name in ("c1", "c2", "c3")]
    assert placed(equal, 6) == ["c1"] * 4 + ["c2"] * 2
    assert placed([replace(equal[0], failed_builds=1.0), *equal[1:]], 2) == ["c2", "c2"], "a host that fails is avoided"


def test_ansible_reads_the_inventory(cloud: Path) -> None:
    listed = json.loads(ansible(cloud, "ansible-inventory", "--list"))
    assert "compute" in listed["all"]["children"]


def test_the_commented_hosts_and_variables_hold_when_uncommented(cloud: Path) -> None:
    for name in ("inventory/hosts.yml", "inventory/group_vars/compute.yml"):
        head, body = (cloud / name).read_text().split("---\n")
        key = re.compile(r"^( *)# ( *\w+:.*)$", re.MULTILINE)  # a key or host; prose has a space before its colon
        (cloud / name).write_text(f"{head}---\n" + key.sub(r"\1\2", body))
    hosts = json.loads(ansible(cloud, "ansible-inventory", "--list"))
    assert hosts["compute"]["hosts"] == ["h1", "h2"] and hosts["ssd"]["hosts"] == ["h1"]
    assert hosts["_meta"]["hostvars"]["h1"]["berth_aggregate"] == {"disk": "ssd"}
    assert hosts["_meta"]["hostvars"]["h2"]["berth_reserved_host_memory_mib"] == 512


def test_ansible_takes_the_settings(cloud: Path) -> None:
    changed = ansible(cloud, "ansible-config", "dump", "--only-changed", "-t", "all")
    for setting in (
        "ANSIBLE_PIPELINING",
        "DEFAULT_FORKS",
        "HOST_KEY_CHECKING",
        "INVENTORY_ANY_UNPARSED_IS_FAILED",
        "RETRY_FILES_ENABLED",
        "ssh_args",
        "result_format",
    ):
        assert setting in changed
    assert str(cloud / "inventory") in changed
    # Kept connections of others may lack what ends ours when a host loses power.
    assert re.search(r"^control_path_dir\(.*/\.ansible/berth$", changed, re.MULTILINE)


def test_every_setting_is_shown_with_its_default() -> None:
    commented = re.findall(r"^# (\w+: .+)$", (TEMPLATES / "berth.yml").read_text().split("---\n")[1], re.MULTILINE)
    defaults = {field.name: field.default for field in fields(Settings)}
    assert yaml.safe_load("\n".join(commented)) == {**defaults, "name": "mycloud"}


def test_secrets_are_closed_to_others(cloud: Path) -> None:
    assert stat.S_IMODE((cloud / SECRETS).stat().st_mode) == 0o700


def test_git_sees_no_secret(cloud: Path) -> None:
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "secrets/ca.key", "runs/1.log", "images/tiny.qcow2"):
        (cloud / name).parent.mkdir(exist_ok=True)
        (cloud / name).write_text("x")
    subprocess.run(["git", "init", "-q", str(cloud)], check=True)
    shown = subprocess.run(
        ["git", "-C", str(cloud), "status", "-su", "--porcelain"], check=True, capture_output=True, text=True
    )
    assert sorted(line[3:] for line in shown.stdout.splitlines()) == sorted(FILES)


def test_the_second_run_changes_nothing(tmp_path: Path) -> None:
    first = make_cloud(tmp_path / "cloud", None, tmp_path)
    (first.cloud / "catalog/flavors.yml").write_text("flavors: []")
    (first.cloud / "README.md").unlink()
    before = snapshot(first.cloud)
    second = make_cloud(first.cloud, None, tmp_path)
    assert snapshot(first.cloud) == before
    assert first.written == list(FILES) and first.kept == []
    assert second.written == [] and second.kept == [name for name in FILES if name != "README.md"]


@pytest.mark.parametrize("broken_at", range(len(FILES)))
def test_an_interrupted_run_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    """The run ends between the writing of a file's content and its rename, for each file in turn."""
    cloud = tmp_path / "cloud"
    stop = cloud / list(FILES)[broken_at]
    whole = module._write

    def interrupted(file: Path, text: str) -> None:
        if file == stop:
            module._unfinished(file).write_text(text[:5])
            raise KeyboardInterrupt
        whole(file, text)

    monkeypatch.setattr(module, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_cloud(cloud, None, tmp_path)
    monkeypatch.setattr(module, "_write", whole)
    made = make_cloud(cloud, None, tmp_path)
    assert made.kept == list(FILES)[:broken_at]
    uninterrupted = make_cloud(tmp_path / "other", None, tmp_path).cloud
    contents = [{name: data for name, (_, data) in snapshot(folder).items()} for folder in (cloud, uninterrupted)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["notes.txt", "catalog/other.yml", ".hidden", "berth.yml/x", "secrets/ca.key"])
def test_a_folder_with_something_else_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "cloud" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(Conflict, match="is not empty and not a cloud: it holds"):
        make_cloud(tmp_path / "cloud", None, tmp_path)
    assert snapshot(tmp_path) == before


def test_a_fresh_git_repository_is_taken(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "cloud")], check=True)
    assert make_cloud(tmp_path / "cloud", None, tmp_path).written == list(FILES)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cloud").write_text("mine")
    with pytest.raises(Conflict, match="is not a folder"):
        make_cloud(tmp_path / "cloud", None, tmp_path)
    with pytest.raises(BerthError, match="cannot be written"):
        make_cloud(tmp_path / "cloud/inner", None, tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"id_rsa.pub": "ssh-rsa AAAA", "id_ecdsa.pub": "x", "id_ed25519.pub": KEY}, KEY, id="first that holds"
        ),
        pytest.param({"id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----"}, None, id="private only"),
        pytest.param({"id_ed25519-cert.pub": KEY, "other.pub": KEY}, None, id="other names"),
        pytest.param({}, None, id="none"),
    ],
)
def test_the_users_own_key(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    ssh = tmp_path / "ssh"
    ssh.mkdir()
    for name, text in files.items():
        (ssh / name).write_text(text + "\n")
    made = make_cloud(tmp_path / "cloud", None, ssh)
    assert made.public_key == expected
    pairs = load_catalog(made.cloud / "catalog").keypairs
    assert [pair.public_key for pair in pairs.values()] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff", "cannot be read: not text"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0", "found something else, allowed: one line"),
        (KEY.encode() + b"\n" + KEY.encode(), "found something else, allowed: one line"),
    ],
    ids=["missing", "not text", "private", "two keys"],
)
def test_a_given_key_must_hold(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "me.pub"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        make_cloud(tmp_path / "cloud", file, tmp_path)
    assert said in caught.value.message and "c2VjcmV0" not in caught.value.message
    assert not (tmp_path / "cloud").exists()


def test_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = typer.Typer()
    app.command()(init)
    cloud = tmp_path / "cloud"
    first = CliRunner().invoke(app, [str(cloud)], catch_exceptions=False)
    assert first.exit_code == 0
    assert "note: no SSH public key was found" in first.stdout
    assert f"berth --cloud {cloud} host prepare" in first.stdout
    second = CliRunner().invoke(app, [str(cloud)], catch_exceptions=False)
    assert second.exit_code == 0
    assert "is a cloud already; nothing was changed" in second.stdout
    third = CliRunner().invoke(app, [str(cloud), "--format", "json"], catch_exceptions=False)
    assert json.loads(third.stdout) == {"cloud": str(cloud), "changed": False, "written": [], "kept": list(FILES)}


def test_every_template_is_written() -> None:
    templates = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*") if path.is_file()}
    assert templates | {module.KEYPAIRS} == set(FILES.values())


def test_every_setting_and_file_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/cloud.md").read_text()
    assert {field.name for field in fields(Settings) if f"`{field.name}`" not in text} == set()
    top = {name.split("/")[0] for name in FILES} - {".gitignore", "README.md"}
    assert {name for name in top if f"`{name}" not in text} == set()


def test_every_exit_code_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/cloud.md").read_text()
    kinds = [BerthError, *BerthError.__subclasses__(), *InvalidInput.__subclasses__()]
    assert {kind.exit_code for kind in kinds if f"| {kind.exit_code} |" not in text} == set()
