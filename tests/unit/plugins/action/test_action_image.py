# SPDX-License-Identifier: GPL-3.0-or-later
"""berth.kvm.image through Ansible: on this machine, and over SSH to an sshd of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ANSIBLE = str(Path(sys.executable).with_name("ansible"))
INTERPRETER = "/usr/bin/python3"
needs_sshd = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("sshd", "ssh", "ssh-keygen", "unshare"))),
    reason="needs root, ssh, sshd and unshare",
)
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""


class Fleet:
    """One host `h1` in an inventory, and Ansible run against it."""

    def __init__(self, folder: Path, variables: dict[str, Any]) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.remote_tmp = folder / "remote"
        shared = {"ansible_python_interpreter": INTERPRETER, "ansible_remote_tmp": str(self.remote_tmp)}
        inventory = {"all": {"hosts": {"h1": {**shared, **variables}}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def run(self, *images: dict[str, Any], check: bool = False) -> tuple[dict[str, Any], int]:
        """Returns the task's result and how many modules ran for it."""
        arguments = {
            "images": [{"format": "raw", **image} for image in images],
            "images_path": str(self.images),
            "instances_path": str(self.folder / "instances"),
        }
        command = [ANSIBLE, "h1", "-i", str(self.folder / "hosts.yml"), "-vvv", "-m", "berth.kvm.image"]
        command += ["-a", json.dumps(arguments), *(["--check"] if check else [])]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
        }
        completed = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=self.folder, env=environment, check=False
        )
        output = completed.stdout
        start = output.index("h1 | ")
        result: dict[str, Any] = json.loads(output[output.index("{", start) : output.rindex("}") + 1])
        return result, output.count("Using module file")

    def left_on_the_host(self) -> list[str]:
        return [path.name for path in self.remote_tmp.rglob("image-*")] if self.remote_tmp.exists() else []


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


@pytest.fixture
def local(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, {"ansible_connection": "local"})


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Fleet]:
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "sshd_config").write_text(SSHD.format(port=port, folder=tmp_path))
    host_key = (tmp_path / "host.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    # Sshd wants a /run/sshd; it gets one in a /run of its own, which is also where the host's locks are then.
    run = "mount -t tmpfs -o size=16m tmpfs /run && mkdir -p /run/sshd /run/lock"
    script = f"{run} && exec {shutil.which('sshd')} -D -e -f {tmp_path}/sshd_config"
    daemon = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stderr=subprocess.PIPE)
    try:
        wait_for(port, daemon)
        yield Fleet(
            tmp_path,
            {
                "ansible_connection": "ssh",
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(tmp_path / "user"),
                "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={tmp_path}/known_hosts",
                "ansible_ssh_args": "-o ControlMaster=no",
            },
        )
    finally:
        daemon.kill()
        daemon.communicate()


def wait_for(port: int, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert daemon.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("sshd does not answer")


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_path_on_a_local_connection_is_one_call(local: Fleet, disk: Path) -> None:
    result, calls = local.run({"name": "d", "source": str(disk)})
    assert result["images"][0]["ok"] is True
    assert result["images"][0]["digest"] == digest_of(disk)
    assert (result["changed"], calls) == (True, 1)
    result, calls = local.run({"name": "d", "source": "disk.raw"})
    assert (result["changed"], calls) == (False, 1)


@needs_sshd
def test_a_path_is_carried_over_ssh_when_the_host_lacks_it(remote: Fleet, disk: Path, image_server: Any) -> None:
    content = b"x" * 4096
    url = image_server.serve("/other", content)
    expected = f"sha256:{hashlib.sha256(content).hexdigest()}"
    images = [
        {"name": "bad", "source": str(disk), "digest": f"sha256:{'0' * 64}"},
        {"name": "d", "source": str(disk)},
        {"name": "web", "source": url, "allow_local_source": True, "digest": expected},
    ]
    result, calls = remote.run(*images[1:], check=True)
    assert (result["changed"], calls) == (True, 1)
    assert not remote.images.exists()

    result, calls = remote.run(*images)
    assert [item["name"] for item in result["images"]] == ["bad", "d", "web"]
    assert [item["ok"] for item in result["images"]] == [False, True, True]
    assert result["images"][0]["reason"] == "digest"
    assert result["msg"] == result["images"][0]["message"]
    assert (result["changed"], calls) == (True, 2)
    assert Path(result["images"][1]["path"]).read_bytes() == disk.read_bytes()
    assert remote.left_on_the_host() == []

    result, calls = remote.run(*images[1:])
    assert (result["changed"], calls) == (False, 1)
    assert "msg" not in result


@needs_sshd
def test_no_room_is_found_before_anything_is_carried(remote: Fleet, disk: Path) -> None:
    # Sshd's own /run is smaller than the margin that has to stay free.
    remote.images = Path("/run/images")
    result, calls = remote.run({"name": "d", "source": str(disk)})
    assert (result["images"][0]["reason"], calls) == ("no_space", 1)


def test_a_path_that_is_no_file(local: Fleet, tmp_path: Path) -> None:
    result, calls = local.run({"name": "d", "source": str(tmp_path / "missing.raw")})
    assert "missing.raw is no file on the controller" in result["msg"]
    assert calls == 0


def test_malformed_arguments_get_the_modules_words(local: Fleet) -> None:
    result, _calls = local.run({"name": "d", "source": 7, "format": "vmdk"})
    assert "value of format must be one of: qcow2, raw" in result["msg"]
