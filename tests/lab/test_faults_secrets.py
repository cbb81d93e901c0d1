# SPDX-License-Identifier: GPL-3.0-or-later
"""Promise P6: what a user hands to a guest, and the guest's own keys, are seen nowhere but where they must be."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lab.cloud import BIN, LabCloud
from lab.held import Held
from lab.host import Host

pytestmark = pytest.mark.lab

CANARY = f"canary-{secrets.token_hex(8)}"
USER_DATA = f"#cloud-config\npassword: {CANARY}\n"
IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
# The ledger keeps the text for the next run; readable by its owner only.
LEDGER = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm")
HOST_FOLDERS = "/root /tmp /var/tmp /var/log /var/lib/berth /run/log /etc/libvirt /run/libvirt"


@pytest.fixture
def user_data(cloud: LabCloud, tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "user-data"
    file.write_text(USER_DATA)
    yield file
    cloud.delete_all()


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """Gives the command lines of all processes of this machine, lab hosts included, in which the canary was seen."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes()
                except OSError:
                    continue
                if CANARY.encode() in line:
                    seen.add(line.replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def files_with(text: str, *folders: Path) -> list[str]:
    """The files below folders that hold the text."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                found.append(str(path.relative_to(folder)))
    return sorted(found)


def on_host(host: Host, text: str) -> list[str]:
    """The files of a host that hold the text, each with its mode."""
    script = f"grep -rlsF -e '{text}' {HOST_FOLDERS} | xargs -r stat -c '%a %n'; journalctl -q --grep '{text}'"
    return host.exec(script, check=False).stdout.splitlines()


def assert_unseen(cloud: LabCloud, said: str, user_data: Path) -> None:
    assert CANARY not in said
    assert base64.b64encode(USER_DATA.encode()).decode()[:24] not in said
    assert set(files_with(CANARY, cloud.folder)) <= set(LEDGER)
    assert all((cloud.folder / name).stat().st_mode & 0o077 == 0 for name in LEDGER if (cloud.folder / name).exists())
    assert files_with(CANARY, cloud.scratch, Path.home() / ".ansible") == []


def test_user_data_is_seen_nowhere(cloud: LabCloud, user_data: Path) -> None:
    with watched_processes() as seen:
        booted = cloud.berth("--debug", "boot", "secret", *IDLE, "--user-data", str(user_data))
        again = cloud.berth("--debug", "boot", "secret", *IDLE, "--user-data", str(user_data))
        shown = cloud.berth("show", "secret", "--format", "json")
    assert seen == set()
    assert_unseen(cloud, "".join([booted.out, booted.err, again.out, again.err, shown.out]), user_data)
    host, uuid = cloud.host_of("secret"), cloud.guest("secret")["uuid"]
    assert on_host(host, CANARY) == [f"600 /var/lib/berth/instances/{uuid}/seed.iso"]
    assert CANARY not in host.exec("virsh dumpxml secret").stdout


def test_ansibles_own_output_shows_none_of_it(cloud: LabCloud, user_data: Path) -> None:
    request = {"name": "loud", "flavor": "m1.tiny", "image": "idle", "networks": ["lan"], "user_data": USER_DATA}
    file = user_data.with_name("request.yml")
    file.write_text(yaml.safe_dump({"berth_request": request}))
    with watched_processes() as seen:
        answer = cloud.run([str(BIN / "ansible-playbook"), "-vvvv", "--diff", "berth.kvm.boot", "-e", f"@{file}"])
    assert "loud" in answer.out and seen == set()
    assert_unseen(cloud, answer.out + answer.err, user_data)


def test_a_run_that_failed_shows_none_of_it(cloud: LabCloud, user_data: Path) -> None:
    words = ("boot", "failed", *IDLE, "--user-data", str(user_data))
    interrupted = Held(cloud, "--debug", *words, at="boot.guest.before").wait().kill()
    assert_unseen_but_in_the_run_folder = [path for path in files_with(CANARY, cloud.scratch) if "env" not in path]
    assert assert_unseen_but_in_the_run_folder == []
    refused = cloud.berth("--debug", *words, "--flavor", "m1.huge", status=None)
    assert refused.status != 0
    taken = cloud.berth("--debug", *words, "--meta", "other=1", status=4)
    said = [text for answer in (interrupted, refused, taken) for text in (answer.out, answer.err)]
    assert_unseen(cloud, "".join(said), user_data)
    cloud.berth("delete", "--yes", "failed")
    assert_unseen(cloud, "", user_data)


def test_the_private_host_key_stays_on_its_host(cloud: LabCloud, user_data: Path) -> None:
    answer = cloud.berth("--debug", "boot", "keyed", *IDLE, "--user-data", str(user_data))
    host, uuid = cloud.host_of("keyed"), cloud.guest("keyed")["uuid"]
    seed = f"/var/lib/berth/instances/{uuid}/seed.iso"
    # The third line of the key: the first two are alike in all keys of this kind.
    line = host.exec(f"grep -a -A 3 'BEGIN OPENSSH PRIVATE KEY' {seed} | sed -n 4p").stdout.strip()
    assert len(line) > 40
    assert line not in answer.out + answer.err
    assert files_with(line, cloud.folder, cloud.scratch) == []
    assert on_host(host, line) == [f"600 {seed}"]
