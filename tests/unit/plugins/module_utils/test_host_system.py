# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operating system says of itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import host_system


def test_this_machine() -> None:
    assert host_system.identity()["hostname"] == socket.gethostname()
    assert host_system.identity()["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = host_system.memory_mib()
    assert 0 < (memory["memory_free_mib"] or 0) <= (memory["memory_mib"] or 0)
    assert host_system.tools()["ssh-keygen"] == "/usr/bin/ssh-keygen"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ('ID=debian\nVERSION_ID="12"\n', ("debian", "12", "Debian")),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', ("ubuntu", "24.04", "Debian")),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', ("rocky", "9.4", "RedHat")),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n', ("opensuse-leap", "15.6", "Suse")),
        ("ID=void\n", ("void", None, None)),
        ("", (None, None, None)),
    ],
)
def test_os_release(monkeypatch: pytest.MonkeyPatch, release: str, expected: tuple[str | None, ...]) -> None:
    monkeypatch.setattr(host_system, "_lines", lambda _path: release.splitlines())
    assert tuple(host_system.operating_system().values()) == expected


class Routes:
    """A socket whose connect() knows the local address per family, or no route."""

    def __init__(self, known: dict[int, str]) -> None:
        self.known = known

    def __call__(self, family: int, _kind: int) -> Routes:
        self.family = family
        return self

    def __enter__(self) -> Routes:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def connect(self, _far: tuple[str, int]) -> None:
        if self.family not in self.known:
            raise OSError(101, "Network is unreachable")

    def getsockname(self) -> tuple[str, int]:
        return self.known[self.family], 40000


@pytest.mark.parametrize(
    ("known", "address"),
    [
        ({socket.AF_INET: "192.0.2.9", socket.AF_INET6: "fd00::9"}, "192.0.2.9"),
        ({socket.AF_INET6: "fd00::9"}, "fd00::9"),
        ({}, None),
    ],
)
def test_the_address_of_the_default_route(
    monkeypatch: pytest.MonkeyPatch, known: dict[int, str], address: str | None
) -> None:
    monkeypatch.setattr(socket, "socket", Routes(known))
    assert host_system.default_route_address() == address
