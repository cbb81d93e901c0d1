# SPDX-License-Identifier: GPL-3.0-or-later
"""Image pull: the two phases, and the playbook run against hosts that serve, refuse and are not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.cloud import Cloud, find_cloud
from berth.errors import BerthError, HostFailed, NotFound, Partial
from berth.ledger.store import Ledger
from berth.verbs import image_pull
from berth.verbs.call import Call

TINY = bytes(range(256)) * 8
TINY_DIGEST = f"sha256:{hashlib.sha256(TINY).hexdigest()}"
NO_INVENTORY: dict[str, Any] = {"compute": ["h1", "h2", "h3"], "hosts": {}, "groups": {}, "problems": []}


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    (tmp_path / "berth.yml").write_text("name: test\n")
    for folder in ("catalog", "images", "inventory"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "tiny.raw").write_bytes(TINY)
    write_images(
        tmp_path,
        {"name": "tiny", "source": "images/tiny.raw", "format": "raw"},
        {"name": "web", "source": "https://example.org/web.qcow2", "format": "qcow2", "digest": f"sha256:{'a' * 64}"},
        {"name": "unbuilt", "source": "images/unbuilt.raw", "format": "raw"},
    )
    return find_cloud(tmp_path)


def write_images(folder: Path, *images: dict[str, Any]) -> None:
    (folder / "catalog" / "images.yml").write_text(yaml.safe_dump({"images": list(images)}))


def begin(cloud: Cloud, **request: Any) -> dict[str, Any]:
    return image_pull.begin(Call(cloud, request, inventory=NO_INVENTORY))


def item(name: str, **changes: Any) -> dict[str, Any]:
    there = {
        "name": name, "ok": True, "changed": True, "path": "/x", "format": "raw", "digest": TINY_DIGEST, "kind": None,
        "virtual_size_bytes": 2048, "size_bytes": 2048, "reason": None, "message": None,
    }  # fmt: skip
    return {**there, **changes}


def finish(cloud: Cloud, results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    call = Call(cloud, {"left_out": []}, results=results, now_s=1000.0, **changes)
    return image_pull.finish(call)


def test_named_images_are_handed_over_with_the_digest_of_local_files(cloud: Cloud) -> None:
    outcome = begin(cloud, images=["tiny", "web", "tiny"])
    tiny, web = outcome["images"]
    assert tiny["source"] == str(cloud.path / "images" / "tiny.raw")
    assert tiny["digest"] == TINY_DIGEST
    assert web["digest"] == f"sha256:{'a' * 64}"
    assert outcome["left_out"] == []


@pytest.mark.parametrize("asked", [None, [], "all", ["all"]])
def test_the_whole_catalog_goes_without_files_that_are_not_built(cloud: Cloud, asked: Any) -> None:
    outcome = begin(cloud, images=asked)
    assert [image["name"] for image in outcome["images"]] == ["tiny", "web"]
    assert [left["name"] for left in outcome["left_out"]] == ["unbuilt"]
    assert "unbuilt.raw is not on the controller" in outcome["left_out"][0]["message"]


def test_every_wrong_name_is_told_at_once(cloud: Cloud) -> None:
    with pytest.raises(NotFound) as caught:
        begin(cloud, images=["tny", "unbuilt", "tiny", "zzz"])
    assert len(caught.value.details) == 3
    assert "did you mean tiny?" in caught.value.details[0]
    assert "unbuilt.raw is not on the controller" in caught.value.details[2]


def test_the_tiny_image_comes_with_the_command_that_builds_it(cloud: Cloud) -> None:
    (cloud.path / "images/tiny.raw").unlink()
    tiny, other = (left["message"] for left in begin(cloud)["left_out"])
    assert tiny.endswith(f"`tests/lab/lab.py image tiny {cloud.path}/images/tiny.raw` builds it in a checkout of Berth")
    assert other.endswith("build or copy it first")


def test_unknown_hosts_are_told(cloud: Cloud) -> None:
    with pytest.raises(NotFound, match="did you mean 'h1'"):
        begin(cloud, images=["tiny"], hosts=["h1x"])


def test_what_the_hosts_have_is_recorded(cloud: Cloud) -> None:
    answer = {"changed": True, "images": [item("tiny"), item("web", digest="sha256:b")]}
    outcome = finish(cloud, {"h1": {"berth_image_result": answer}, "h2": {}})
    assert outcome["changed"] is True
    assert [(row["host"], row["name"], row["ok"]) for row in outcome["images"]] == [
        ("h1", "tiny", True),
        ("h1", "web", True),
    ]
    with Ledger.open(cloud.ledger_url) as ledger:
        row = ledger.image("tiny")
        assert (row.digest, row.virtual_size_bytes, row.source) == (TINY_DIGEST, 2048, "images/tiny.raw")


FAILED = item("web", ok=False, changed=False, kind="host", reason="network", message="image web: gave up")
UNREACHABLE = {"unreachable": True, "msg": "Failed to connect\nto the host"}
OUTCOMES: dict[str, tuple[dict[str, Any], type[BerthError], str]] = {
    "a host that refuses": ({"images": [FAILED]}, HostFailed, "h2: image web: gave up"),
    "a host that is not there": (UNREACHABLE, Partial, "h2: unreachable: Failed to connect to the host"),
    "a module that could not start": ({"failed": True, "msg": "no Python"}, Partial, "h2: no Python"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_failures_are_told_after_the_rest_was_recorded(cloud: Cloud, name: str) -> None:
    answer, kind, line = OUTCOMES[name]
    results = {"h1": {"berth_image_result": {"images": [item("tiny")]}}, "h2": {"berth_image_result": answer}}
    with pytest.raises(kind) as caught:
        finish(cloud, results)
    assert type(caught.value) is kind
    assert caught.value.details == (line,)
    assert [row["host"] for row in caught.value.data["images"]] == ["h1", "h2"]
    with Ledger.open(cloud.ledger_url) as ledger:
        assert [row.name for row in ledger.images()] == ["tiny"]


def test_check_mode_records_nothing(cloud: Cloud) -> None:
    would = item("tiny", virtual_size_bytes=None, size_bytes=None, message="would be brought")
    outcome = finish(cloud, {"h1": {"berth_image_result": {"images": [would]}}}, check_mode=True)
    assert outcome["images"][0]["message"] == "would be brought"
    assert not (cloud.path / "ledger.sqlite").exists()


def play(cloud: Cloud, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(cloud.inventory_path)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(cloud.path), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [*command, "berth.kvm.image_pull", *options],
        capture_output=True, text=True, timeout=180, cwd=cloud.path, env=environment, check=False,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_the_playbook_serves_those_that_can_be_served(cloud: Cloud) -> None:
    write_images(cloud.path, {"name": "tiny", "source": "images/tiny.raw", "format": "raw"})
    here = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    hosts: dict[str, Any] = {
        name: {**here, "berth_images_path": str(cloud.path / name), "berth_instances_path": str(cloud.path / "i")}
        for name in ("h1", "h2")
    }
    # h2 cannot make its folder, and nobody listens at h3.
    (cloud.path / "h2").write_text("in the way")
    hosts["h3"] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F none"}
    (cloud.inventory_path / "hosts.yml").write_text(yaml.safe_dump({"compute": {"hosts": hosts}}))

    completed = play(cloud, "-e", '{"berth_hosts": ["h1"]}')
    assert completed.returncode == 0, completed.stdout + completed.stderr
    file = cloud.path / "h1" / f"{TINY_DIGEST.replace(':', '-')}.raw"
    assert file.read_bytes() == TINY

    completed = play(cloud, "-e", '{"berth_request": {"images": ["tiny"]}}')
    assert completed.returncode != 0
    for text in ("2 of 3 failed", "h2: image tiny", "h3: unreachable"):
        assert text in completed.stdout
    assert "ok: [h1]" in completed.stdout
    with Ledger.open(cloud.ledger_url) as ledger:
        assert ledger.image("tiny").digest == TINY_DIGEST
