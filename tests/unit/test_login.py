# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins by the real ssh client to an SSH server on the loopback interface, directly and through a jump."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from berth.access import Jump, Route
from berth.errors import HostFailed
from berth.login import Keyring, Login, raise_for_missing, ssh_argv, wait_for_login, wait_for_logins

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the OpenSSH client")


class Server(paramiko.ServerInterface):
    """One SSH server: logs `user` in by one key, runs nothing but says what it was asked, and forwards for jumps."""

    def __init__(self, user: str, allowed: paramiko.PKey) -> None:
        self.user, self.allowed = user, allowed
        self.host_key = paramiko.ECDSAKey.generate()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.refuse = threading.Event()  # while set, nobody may log in: a guest that still boots
        self.transports: list[paramiko.Transport] = []
        self.channels: list[Any] = []
        self.targets: dict[int, tuple[str, int]] = {}
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def public_key(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def serve(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            threading.Thread(target=self.answer, args=(transport,), daemon=True).start()

    def answer(self, transport: paramiko.Transport) -> None:
        try:
            transport.start_server(server=self)
        except (paramiko.SSHException, EOFError):
            return
        channel = transport.accept(10)
        if channel is None:
            return
        self.channels.append(channel)  # paramiko closes a channel that nobody holds
        if channel.chanid in self.targets:
            self.forward(channel)

    def forward(self, channel: Any) -> None:
        with socket.create_connection(self.targets[channel.chanid]) as target:
            up = threading.Thread(target=pump, args=(channel.recv, target.sendall), daemon=True)
            up.start()
            pump(target.recv, channel.sendall)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.close()  # the transport may have gone first

    def close(self) -> None:
        self.listener.close()
        for transport in self.transports:
            transport.close()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == self.user and key == self.allowed and not self.refuse.is_set()
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, _origin: Any, destination: tuple[str, int]) -> int:
        self.targets[chanid] = destination
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        threading.Thread(target=self.run, args=(channel, command), daemon=True).start()
        return True

    def run(self, channel: Any, command: bytes) -> None:
        channel.sendall(command + b"\n")
        channel.send_exit_status(7 if command == b"fail" else 0)
        channel.close()


def pump(receive: Any, send: Any) -> None:
    try:
        while data := receive(65536):
            send(data)
    except OSError:
        return


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    return tmp_path / "id"


@pytest.fixture
def guest(identity: Path) -> Iterator[Server]:
    server = Server("debian", paramiko.Ed25519Key.from_private_key_file(str(identity)))
    yield server
    server.close()


@pytest.fixture
def jump_host(identity: Path) -> Iterator[Server]:
    server = Server("admin", paramiko.Ed25519Key.from_private_key_file(str(identity)))
    yield server
    server.close()


@pytest.fixture
def keyring(tmp_path: Path, identity: Path) -> Keyring:
    return Keyring(tmp_path / "known hosts %h", identity)


def route_to(server: Server, *, uuid: str = "u1", key: str | None = None, jump: Jump | None = None) -> Route:
    return Route(f"web-{uuid}", uuid, "127.0.0.1", server.port, "debian", key or server.public_key, jump)


def through(server: Server, identity: Path, folder: Path) -> Jump:
    known = folder / "hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.public_key}\n")
    arguments = ("-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes")
    return Jump("127.0.0.1", server.port, "admin", str(identity), arguments)


def test_a_command_runs_and_its_status_comes_back(guest: Server, keyring: Keyring) -> None:
    for command, status in ((["echo", "a b"], 0), (["fail"], 7)):
        argv = ssh_argv(route_to(guest), keyring, command, batch=True)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stdout) == (status, " ".join(command) + "\n")


def test_a_login_through_the_host(
    guest: Server, jump_host: Server, identity: Path, keyring: Keyring, tmp_path: Path
) -> None:
    login = wait_for_login(route_to(guest, jump=through(jump_host, identity, tmp_path)), keyring, timeout_s=20)
    assert login.error == "" and list(jump_host.targets.values()) == [("127.0.0.1", guest.port)]


def test_another_key_is_never_accepted(guest: Server, jump_host: Server, keyring: Keyring) -> None:
    with pytest.raises(HostFailed) as caught:
        wait_for_login(route_to(guest, key=jump_host.public_key), keyring, timeout_s=1)
    assert "Host key verification failed" in caught.value.message
    assert "`berth log web-u1`" in caught.value.hint


def test_an_open_port_is_no_login_and_waiting_goes_on(guest: Server, keyring: Keyring) -> None:
    guest.refuse.set()
    threading.Timer(1.5, guest.refuse.clear).start()
    login = wait_for_login(route_to(guest), keyring, timeout_s=30)
    assert login.error == "" and login.waited_s > 1.4


def test_guests_share_one_deadline_and_each_is_told(guest: Server, keyring: Keyring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never speaks
        mute = Route("mute", "u3", "127.0.0.1", silent.getsockname()[1], "debian", guest.public_key)
        closed = Route("closed", "u2", "127.0.0.1", 1, "debian", guest.public_key)
        told: list[Login] = []
        begin = time.monotonic()
        logins = wait_for_logins([route_to(guest), closed, mute], keyring, timeout_s=4, on_login=told.append)
        assert time.monotonic() - begin < 12
    assert [login.name for login in logins] == ["web-u1", "closed", "mute"]
    assert logins[0].error == "" and "refused" in logins[1].error and logins[2].error
    assert sorted(login.name for login in told) == ["closed", "mute", "web-u1"]
    with pytest.raises(HostFailed) as caught:
        raise_for_missing(logins, 4)
    assert caught.value.message == "no login to closed, mute within 4 s" and len(caught.value.details) == 2


def test_keys_are_kept_per_guest_and_dropped_with_it(guest: Server, keyring: Keyring) -> None:
    for uuid in ("u1", "u2"):
        file = keyring.known_hosts(route_to(guest, uuid=uuid))
        assert file.read_text() == f"berth-{uuid} {guest.public_key}\n"
    inode = file.stat().st_ino
    assert keyring.known_hosts(route_to(guest, uuid="u2")).stat().st_ino == inode
    keyring.keep_only(["u2"])
    assert [path.name for path in keyring.folder.iterdir()] == ["u2"]
    assert keyring.folder.stat().st_mode & 0o777 == 0o700
