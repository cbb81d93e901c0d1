# SPDX-License-Identifier: GPL-3.0-or-later
"""berth.kvm.image as a process of its own: real downloads, real images, real kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.locks import held, image_lock_name, lock_directories

QEMU_IMG = shutil.which("qemu-img")
pytestmark = pytest.mark.skipif(QEMU_IMG is None, reason="needs qemu-img")
MODULE = "ansible_collections.berth.kvm.plugins.modules.image"
RAW = random.Random(3).randbytes(1_500_000)


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run([str(QEMU_IMG), *map(str, arguments)], check=True, capture_output=True, timeout=60)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Host:
    """The folders of one host, and the module run in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.instances = folder / "instances"

    def start(self, images: list[dict[str, Any]], *, umask: int = -1, **options: Any) -> subprocess.Popen[str]:
        given = [{"format": "qcow2", "allow_local_source": True, **image} for image in images]
        paths = {"images_path": str(self.images), "instances_path": str(self.instances)}
        arguments = {"ANSIBLE_MODULE_ARGS": {"images": given, **paths, **options}}
        file = self.folder / f"args-{time.monotonic_ns()}.json"
        file.write_text(json.dumps(arguments))
        return subprocess.Popen(
            [sys.executable, "-m", MODULE, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        )

    def run(self, *images: dict[str, Any], **options: Any) -> dict[str, Any]:
        process = self.start(list(images), **options)
        output, errors = process.communicate(timeout=120)
        assert errors == ""
        result: dict[str, Any] = json.loads(output)
        assert bool(result.get("failed")) == (process.returncode != 0)
        return result

    def files(self) -> list[str]:
        return sorted(file.name for file in self.images.iterdir()) if self.images.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def qcow2(tmp_path: Path) -> bytes:
    qemu_img("create", "-f", "qcow2", tmp_path / "made.qcow2", "64M")
    return (tmp_path / "made.qcow2").read_bytes()


def test_an_image_is_brought_once(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a.qcow2", qcow2), "digest": sha256(qcow2)}
    result = host.run(image, _ansible_diff=True, umask=0o077)
    path = host.images / f"{sha256(qcow2).replace(':', '-')}.qcow2"
    expected = {
        "name": "a", "ok": True, "changed": True, "path": str(path), "format": "qcow2", "digest": sha256(qcow2),
        "virtual_size_bytes": 64 * 1024**2, "size_bytes": len(qcow2), "kind": None, "reason": None, "message": None,
    }  # fmt: skip
    assert result["images"] == [expected]
    assert result["changed"] is True
    assert result["diff"][0]["after"] == f"a {sha256(qcow2)}\n"
    assert path.read_bytes() == qcow2
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o644, os.geteuid())
    assert host.files() == [path.name]
    assert host.images.stat().st_mode & 0o777 == 0o711

    result = host.run(image)
    assert result["images"] == [{**expected, "changed": False}]
    assert result["changed"] is False
    assert result["diff"] == []
    assert len(image_server.answers) == 1


def test_check_mode_brings_nothing(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a.qcow2", qcow2), "digest": sha256(qcow2)}
    result = host.run(image, _ansible_check_mode=True)
    assert result["changed"] is True
    assert "would be brought from" in result["images"][0]["message"]
    assert image_server.answers == []
    assert not host.images.exists()
    host.run(image)
    assert host.run(image, _ansible_check_mode=True)["changed"] is False


def test_raw_from_a_file_of_the_host_goes_by_its_own_digest(host: Host, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(RAW)
    image = {"name": "r", "source": f"file://{tmp_path}/disk.raw", "format": "raw"}
    item = host.run(image)["images"][0]
    assert item["digest"] == sha256(RAW)
    assert item["virtual_size_bytes"] == -(-len(RAW) // 512) * 512
    assert host.run(image)["changed"] is False


def test_sums_decide(host: Host, image_server: Any, qcow2: bytes) -> None:
    digest = hashlib.sha512(qcow2).hexdigest()
    sums = image_server.serve("/SHA512SUMS", f"{'0' * 128}  b.qcow2\n{digest}  a.qcow2\n".encode())
    image = {"name": "a", "source": image_server.serve("/dir/a.qcow2", qcow2), "sums": sums, "insecure": True}
    item = host.run(image, {**image, "name": "again"})["images"][0]
    assert item["digest"] == f"sha512:{digest}"
    assert item["path"] == str(host.images / f"sha512-{digest}.qcow2")
    assert [answer.path for answer in image_server.answers] == ["/SHA512SUMS", "/dir/a.qcow2"]


def corrupt(folder: Path) -> Path:
    """Returns an image with a sound header whose L1 table leads to a cluster that is not there."""
    image = folder / "corrupt"
    qemu_img("create", "-f", "qcow2", image, "64M")
    with image.open("r+b") as file:
        file.seek(0x30000)
        file.write((0x8000_0000_7FFF_0000).to_bytes(8, "big"))
    return image


def made(kind: str, *options: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        qemu_img("create", "-f", kind, *options, folder / "bad", "64M")
        return folder / "bad"

    return build


def with_backing(folder: Path) -> Path:
    qemu_img("create", "-f", "qcow2", folder / "base", "64M")
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", folder / "base", folder / "bad")
    return folder / "bad"


def with_data_file(folder: Path) -> Path:
    return made("qcow2", "-o", f"data_file={folder}/data")(folder)


def page(folder: Path) -> Path:
    (folder / "bad").write_text("<!DOCTYPE html><title>Not here")
    return folder / "bad"


REFUSED: dict[str, tuple[Callable[[Path], Path], str, str, str]] = {
    "backing file": (with_backing, "qcow2", "backing_file", "/base'"),
    "external data file": (with_data_file, "qcow2", "data_file", "external"),
    "vmdk": (made("vmdk"), "qcow2", "format", "found vmdk"),
    "qcow2 as raw": (made("qcow2"), "raw", "format", "declare `format: qcow2`"),
    "too big a disk": (made("qcow2"), "qcow2", "virtual_size", "max_virtual_size_gib"),
    "damaged tables": (corrupt, "qcow2", "qemu_check", "damaged"),
    "a web page": (page, "qcow2", "format", "found html"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_images_leave_nothing_and_do_not_stop_the_others(
    host: Host, image_server: Any, tmp_path: Path, qcow2: bytes, name: str
) -> None:
    build, image_format, reason, text = REFUSED[name]
    path = build(tmp_path)
    if reason == "virtual_size":
        qemu_img("resize", path, "2G")
    content = path.read_bytes()
    bad = {"name": "bad", "source": image_server.serve("/bad", content), "digest": sha256(content)}
    good = {"name": "good", "source": image_server.serve("/good", qcow2), "digest": sha256(qcow2)}
    result = host.run({**bad, "format": image_format, "max_virtual_size_gib": 1}, good)
    refused, brought = result["images"]
    assert (refused["ok"], refused["kind"], refused["reason"]) == (False, "request", reason)
    assert text in refused["message"]
    assert result["msg"] == refused["message"]
    assert result["failed"] is True
    assert result["changed"] is True
    assert brought["ok"] is True
    assert host.files() == [Path(brought["path"]).name]


def test_a_wrong_digest_names_both(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a.qcow2", qcow2), "digest": sha256(b"other")}
    item = host.run(image)["images"][0]
    assert (item["kind"], item["reason"]) == ("request", "digest")
    assert sha256(qcow2) in item["message"]
    assert sha256(b"other") in item["message"]
    assert host.files() == []


UNSOUND: dict[str, tuple[dict[str, Any], str, str]] = {
    "no digest for a URL": ({"source": "https://example.org/a"}, "digest_missing", "needs `digest`"),
    "a digest that is none": ({"source": "https://example.org/a", "digest": "sha256:1"}, "digest_form", "64"),
    "sums over http": ({"source": "https://example.org/a", "sums": "http://example.org/S"}, "url_refused", "insecure"),
    "sums that are a path": ({"source": "https://example.org/a", "sums": "SUMS"}, "url_refused", "must be a URL"),
    "loopback": (
        {"source": "http://127.0.0.1:1/a", "digest": sha256(b""), "allow_local_source": False},
        "url_refused",
        "allow_local_source",
    ),
    "another scheme": ({"source": "ftp://example.org/a", "digest": sha256(b"")}, "url_refused", "'ftp'"),
    "file of another machine": ({"source": "file://other/a"}, "url_refused", "absolute path"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_what_the_user_wrote_does_not_hold(host: Host, name: str) -> None:
    image, reason, text = UNSOUND[name]
    item = host.run({"name": "a", **image})["images"][0]
    assert (item["kind"], item["reason"]) == ("request", reason)
    assert text in item["message"]


def test_all_mistakes_in_the_options_are_told_at_once(host: Host) -> None:
    result = host.run({"name": "a", "max_virtual_size_gib": 0}, {"name": "b"}, timeout_s=0)
    assert result["failed"] is True
    assert len(result["msg"].splitlines()) == 4


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()


def test_a_killed_download_goes_on_where_it_was(host: Host, image_server: Any) -> None:
    url = image_server.serve("/big.raw", RAW, pace_s=0.05)
    image = {"name": "r", "source": url, "digest": sha256(RAW), "format": "raw"}
    part = host.images / f".{sha256(RAW).replace(':', '-')}.raw.part"
    kill_when(host.start([image]), lambda: part.exists() and part.stat().st_size > 400_000)
    there = part.stat().st_size
    image_server.stop_pacing.set()
    item = host.run(image)["images"][0]
    assert (item["ok"], item["changed"]) == (True, True)
    assert image_server.answers[-1].range == f"bytes={there}-"
    assert image_server.answers[-1].bytes_sent == len(RAW) - there
    assert host.files() == [f"{sha256(RAW).replace(':', '-')}.raw"]
    assert Path(item["path"]).read_bytes() == RAW


def test_killed_at_any_moment_and_run_again(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a", qcow2), "digest": sha256(qcow2)}
    for delay_ms in range(60, 260, 15):
        process = host.start([image])
        time.sleep(delay_ms / 1000)
        process.kill()
        process.communicate()
        done = [file for file in host.files() if not file.startswith(".")]
        for file in done:
            assert (host.images / file).read_bytes() == qcow2, "the final name is only ever a whole image's"
            (host.images / file).unlink()
    assert host.run(image)["images"][0]["ok"] is True
    assert host.files() == [f"{sha256(qcow2).replace(':', '-')}.qcow2"]


def test_two_calls_at_once_download_once(host: Host, image_server: Any) -> None:
    url = image_server.serve("/big.raw", RAW, pace_s=0.02)
    image = {"name": "r", "source": url, "digest": sha256(RAW), "format": "raw"}
    processes = [host.start([image]) for _ in range(3)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert all(result["images"][0]["ok"] for result in results)
    assert image_server.sent("/big.raw") == len(RAW)


def test_who_waits_in_vain_names_the_holder(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a", qcow2), "digest": sha256(qcow2)}
    directories = lock_directories(str(host.instances))
    with held(image_lock_name(sha256(qcow2)), directories=directories, timeout_s=1):
        item = host.run(image, timeout_s=1)["images"][0]
    assert (item["kind"], item["reason"]) == ("host", "locked")
    assert f"process {os.getpid()}" in item["message"]


def test_the_time_limit_ends_a_slow_transfer_and_keeps_what_came(host: Host, image_server: Any) -> None:
    url = image_server.serve("/slow.raw", RAW, pace_s=0.2)
    image = {"name": "r", "source": url, "digest": sha256(RAW), "format": "raw"}
    started = time.monotonic()
    item = host.run(image, timeout_s=1)["images"][0]
    assert (item["kind"], item["reason"]) == ("host", "timeout")
    assert time.monotonic() - started < 10
    assert any(file.endswith(".part") for file in host.files())
    image_server.stop_pacing.set()
    assert host.run(image)["images"][0]["ok"] is True
    assert image_server.sent("/slow.raw") < 2 * len(RAW)


def test_stale_parts_are_removed_and_fresh_ones_kept(host: Host, image_server: Any, qcow2: bytes) -> None:
    host.images.mkdir()
    stale, fresh = f".sha256-{'a' * 64}.qcow2.part", f".sha256-{'b' * 64}.raw.part"
    for name in (stale, f"{stale}.json", fresh, "unrelated.part"):
        (host.images / name).write_text("x")
    two_days_ago = time.time() - 2 * 24 * 3600
    for name in (stale, "unrelated.part"):
        os.utime(host.images / name, (two_days_ago, two_days_ago))
    host.run({"name": "a", "source": image_server.serve("/a", qcow2), "digest": sha256(qcow2)})
    left = host.files()
    assert (stale in left, f"{stale}.json" in left, fresh in left, "unrelated.part" in left) == (
        False,
        False,
        True,
        True,
    )


def test_absent_spares_the_base_of_a_guest(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a", qcow2), "digest": sha256(qcow2)}
    path = host.run(image)["images"][0]["path"]
    guest = host.instances / "4b1d"
    guest.mkdir(parents=True)
    disk = guest / "disk.qcow2"
    # A relative name is another spelling of the same base.
    relative = os.path.relpath(path, guest)
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", relative, disk, "64M")
    gone = {"name": "a", "digest": sha256(qcow2)}
    item = host.run(gone, state="absent")["images"][0]
    assert (item["ok"], item["kind"], item["reason"]) == (False, "request", "in_use")
    assert str(disk) in item["message"]
    assert Path(path).exists()

    disk.unlink()
    assert host.run(gone, state="absent", _ansible_check_mode=True)["changed"] is True
    assert Path(path).exists()
    assert host.run(gone, state="absent")["changed"] is True
    assert host.files() == []
    assert host.run(gone, state="absent")["changed"] is False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small file system")
def test_a_full_disk_spoils_only_the_image_that_does_not_fit(
    host: Host, image_server: Any, tmp_path: Path, qcow2: bytes
) -> None:
    host.images.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=66m", "tmpfs", str(host.images)], check=True)
    try:
        big = {"name": "big", "source": image_server.serve("/b", bytes(3_000_000)), "digest": sha256(bytes(3_000_000))}
        small = {"name": "small", "source": image_server.serve("/s", qcow2), "digest": sha256(qcow2)}
        refused, brought = host.run({**big, "format": "raw"}, small)["images"]
        assert (refused["kind"], refused["reason"]) == ("host", "no_space")
        assert brought["ok"] is True
        assert host.files() == [Path(brought["path"]).name]
    finally:
        subprocess.run(["umount", str(host.images)], check=True)


def test_a_damaged_file_in_the_cache_is_told(host: Host, image_server: Any, qcow2: bytes) -> None:
    image = {"name": "a", "source": image_server.serve("/a", qcow2), "digest": sha256(qcow2)}
    path = Path(host.run(image)["images"][0]["path"])
    path.write_bytes(b"")
    item = host.run(image)["images"][0]
    assert (item["ok"], item["kind"], item["reason"]) == (False, "host", "damaged")
    assert str(path) in item["message"]
    host.run({"name": "a", "digest": sha256(qcow2)}, state="absent")
    assert host.run(image)["images"][0]["ok"] is True


def test_a_server_that_never_answers_is_bounded_by_the_time_limit(host: Host) -> None:
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []
    thread = threading.Thread(target=lambda: accepted.append(silent.accept()[0]))
    thread.start()
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
    item = host.run({"name": "a", "source": url, "digest": sha256(b"x")}, timeout_s=1)["images"][0]
    thread.join()
    assert (item["kind"], item["reason"]) == ("host", "timeout")
    for connection in (*accepted, silent):
        connection.close()
