# SPDX-License-Identifier: GPL-3.0-or-later
"""How libvirt's daemon is told apart, and until when certificates hold."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import host_daemon

OPENSSL = shutil.which("openssl")


@pytest.mark.parametrize(
    ("uri", "modular", "expected"),
    [
        ("qemu:///system", False, "monolithic"),
        ("qemu:///system", True, "modular"),
        ("qemu:///system?socket=/tmp/x/libvirt-sock", True, "private"),
        ("qemu+unix:///system?mode=legacy&socket=/tmp/x", False, "private"),
        ("qemu:///embed?root=/tmp/x", False, "private"),
        ("qemu:///session", False, "monolithic" if os.geteuid() == 0 else "session"),
    ],
)
def test_flavor(tmp_path: Path, uri: str, modular: bool, expected: str) -> None:
    sock = tmp_path / "virtqemud-sock"
    if modular:
        sock.touch()
    assert host_daemon.flavor(uri, str(sock)) == expected


@pytest.mark.parametrize(
    ("words", "opens"),
    [
        (["/usr/sbin/libvirtd", "--listen"], True),
        (["/usr/sbin/libvirtd", "-d", "-l"], True),
        (["/usr/sbin/libvirtd", "-dl"], True),
        (["/usr/sbin/libvirtd", "--timeout", "120"], False),
        (["/usr/sbin/libvirtd", "-d"], False),
    ],
)
def test_a_daemon_that_opens_its_ports_itself(words: list[str], opens: bool) -> None:
    assert host_daemon._opens_ports(words) is opens


def test_listening_ports_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(host_daemon, "PORTS", (port,))
        assert host_daemon.daemon("qemu:///system")["ports"] == [port]
        assert host_daemon.daemon("qemu:///system")["listen"] == "socket"
    assert host_daemon.listening_ports() == []
    assert host_daemon.daemon("qemu:///system")["listen"] == "none"


class Module:
    """The one method of AnsibleModule that is used, for real."""

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(argv, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_the_first_certificate_to_expire_counts(tmp_path: Path) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "key"]
    for name, days in (("long", 90), ("short", 30)):
        argv = [OPENSSL, "req", "-x509", *key, "-subj", "/CN=h1", "-days", str(days), "-out", tmp_path / name]
        subprocess.run(argv, check=True, capture_output=True)  # type: ignore[arg-type]
    (tmp_path / "broken").write_text("no certificate")
    paths = [str(tmp_path / name) for name in ("long", "broken", "short", "missing")]
    made = (tmp_path / "short").stat().st_mtime
    found = host_daemon.certificate_not_after(Module(), OPENSSL, paths)
    assert found == pytest.approx(made + 30 * 86400, abs=60)


@pytest.mark.parametrize(("openssl", "paths"), [(None, ["/etc/hostname"]), ("/usr/bin/openssl", ["/missing.pem"])])
def test_without_a_certificate_there_is_no_date(openssl: str | None, paths: list[Any]) -> None:
    assert host_daemon.certificate_not_after(Module(), openssl, paths) is None


@pytest.mark.parametrize(
    ("transport", "folders"),
    [("tls", {"libvirt", "qemu"}), ("ssh", {"qemu"}), ("tcp", {"qemu"}), (None, {"libvirt", "qemu"})],
)
def test_certificates_that_a_transport_does_not_use_do_not_count(transport: str | None, folders: set[str]) -> None:
    assert {Path(path).parts[3] for path in host_daemon.certificates(transport)} == folders
