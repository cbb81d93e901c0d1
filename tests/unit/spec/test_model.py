# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from berth.spec.model import Flavor, KeyPair, Project, is_public_key

KINDS = [("ed25519", []), ("rsa", ["-b", "2048"]), ("ecdsa", ["-b", "384"])]


def blob(*fields: bytes) -> str:
    return base64.b64encode(b"".join(len(field).to_bytes(4) + field for field in fields)).decode()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=[kind for kind, _ in KINDS])
def test_keys_of_ssh_keygen_hold(tmp_path: Path, kind: str, options: list[str]) -> None:
    file = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", "me at home", "-f", str(file)], check=True
    )
    line = (tmp_path / "key.pub").read_text()
    pair = KeyPair(name="me", public_key=line)
    assert pair.public_key == line.strip()
    assert not is_public_key(file.read_text())


GOOD_BLOB = blob(b"ssh-ed25519", b"k" * 32)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("ssh-ed25519", id="no key"),
        pytest.param("ssh-ed25519 not/base64!", id="not base64"),
        pytest.param(f"ssh-ed25519 {GOOD_BLOB[:-8]}", id="cut off"),
        pytest.param(f"ssh-rsa {GOOD_BLOB} me", id="blob of another type"),
        pytest.param(f"ssh-ed25519 {blob(b'ssh-ed25519')}", id="type only"),
        pytest.param(f"ssh-dss {blob(b'ssh-dss', b'k')}", id="type that sshd refuses"),
        pytest.param(f'command="x" ssh-ed25519 {GOOD_BLOB}', id="options before it"),
        pytest.param(f"ssh-ed25519 {GOOD_BLOB} me\nssh-ed25519 {GOOD_BLOB} you", id="two lines"),
        pytest.param("-----BEGIN OPENSSH PRIVATE KEY-----", id="private key"),
    ],
)
def test_keys_that_do_not_hold(line: str) -> None:
    with pytest.raises(ValidationError, match="OpenSSH public key"):
        KeyPair(name="me", public_key=line)


def test_the_good_blob_is_good() -> None:
    assert KeyPair(name="me", public_key=f"ssh-ed25519 {GOOD_BLOB} me").name == "me"


def test_a_key_or_a_file_not_both() -> None:
    with pytest.raises(ValidationError, match="one of the two"):
        KeyPair(name="me", public_key=f"ssh-ed25519 {GOOD_BLOB}", public_key_file="k.pub")


def flavor(**given: Any) -> Flavor:
    return Flavor.model_validate({"name": "a", "vcpus": 1, "memory_mib": 512, "disk_gib": 0, **given})


def test_flavor_defaults() -> None:
    assert flavor().model_dump(mode="json") == {
        "name": "a",
        "vcpus": 1,
        "memory_mib": 512,
        "disk_gib": 0,
        "machine": "q35",
        "firmware": "bios",
        "extra_specs": {},
        "properties": {},
        "on_host_boot": "leave",
    }


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"vcpus": 0}, "vcpus"),
        ({"vcpus": True}, "vcpus"),
        ({"vcpus": "1"}, "vcpus"),
        ({"vcpus": 2**70}, "vcpus"),
        ({"memory_mib": -1}, "memory_mib"),
        ({"memory_mib": float("nan")}, "memory_mib"),
        ({"memory_mib": 512.0}, "memory_mib"),
        ({"disk_gib": -1}, "disk_gib"),
        ({"machine": "Q35"}, "machine"),
        ({"properties": {"os_type": 1}}, "properties"),
        ({"properties": {"os_type": "a\x00"}}, "properties"),
        ({"extra_specs": {"": "a"}}, "extra_specs"),
        ({"swap": 1}, "swap"),
    ],
)
def test_flavors_that_do_not_hold(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        flavor(**given)
    assert [error["loc"][0] for error in caught.value.errors()] == [key]


def test_extra_specs_of_nova_hold() -> None:
    specs = {"hw:cpu_policy": "dedicated", "aggregate_instance_extra_specs:ssd": "true", "capabilities:cpu": "s== x"}
    assert flavor(extra_specs=specs).extra_specs == specs


def test_entries_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        flavor().vcpus = 2  # type: ignore[misc]


def test_quota_is_unlimited_unless_said() -> None:
    assert set(Project(name="p").quota.model_dump().values()) == {-1}
