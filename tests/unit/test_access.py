# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a guest: which address, which jump, which options."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from berth.access import Jump, Route, guest_route, host_jump, ssh_options, waits_for_lease
from berth.errors import BerthError, Conflict
from berth.ledger.model import VmState
from berth.ledger.rows import GuestRow, HostRow

UUID = "4b1d0000-0000-4000-8000-000000000001"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEKkHVMNY0S4gKy6iiJ2e7QK3AbhZ2qPz4MHqEKlS2BQ web-1"


def guest(*networks: dict[str, Any], key: str | None = KEY) -> GuestRow:
    values: dict[str, Any] = dict.fromkeys(GuestRow.__dataclass_fields__)
    filled = [{"network": "lan", "mac": "52:54:00:00:00:01", "address": None, "ssh_port": None, **n} for n in networks]
    plan = {"login_user": "debian", "networks": filled}
    values.update(uuid=UUID, name="web-1", vm_state=VmState.ACTIVE, ssh_host_key=key, plan=plan)
    return GuestRow(**values)


def host(facts: dict[str, Any] | None = None, **access: Any) -> HostRow:
    return HostRow("h1", True, "", True, "", None, None, "m1", facts, 1.0, ("compute",), {}, access)


NAT = {"kind": "nat", "address": "192.168.150.11"}
ROUTED = {"kind": "routed", "address": "10.1.0.11"}
BRIDGE = {"kind": "bridge", "address": "10.2.0.11"}
USER = {"kind": "user", "address": "10.0.2.15", "ssh_port": 40001}
LEASES = {"networks": [{"name": "lan", "leases": [{"mac": "52:54:00:00:00:01", "address": "192.168.150.77"}]}]}


DHCP = {"assignment": "dhcp"}


@pytest.mark.parametrize(
    ("networks", "facts", "waits"),
    [
        pytest.param([{"kind": "nat", **DHCP}], None, True, id="nat"),
        pytest.param([{"kind": "routed", **DHCP}], {"networks": []}, True, id="routed"),
        pytest.param([{"kind": "nat", **DHCP}], LEASES, False, id="leased"),
        pytest.param([{"kind": "bridge", **DHCP}], None, False, id="nobody-of-ours-knows"),
        pytest.param([NAT, {"kind": "nat", **DHCP}], None, False, id="another-way-in"),
        pytest.param([{"kind": "nat", "assignment": "static"}], None, False, id="static"),
    ],
)
def test_who_waits_for_a_lease(networks: list[dict[str, Any]], facts: dict[str, Any] | None, waits: bool) -> None:
    assert waits_for_lease(guest(*networks), host(facts)) is waits


@pytest.mark.parametrize(
    ("networks", "facts", "target", "jumps"),
    [
        pytest.param([NAT], None, ("192.168.150.11", 22), True, id="nat"),
        pytest.param([ROUTED], None, ("10.1.0.11", 22), False, id="routed"),
        pytest.param([BRIDGE], None, ("10.2.0.11", 22), False, id="bridge"),
        pytest.param([USER], None, ("127.0.0.1", 40001), True, id="user-mode"),
        pytest.param([NAT, BRIDGE], None, ("192.168.150.11", 22), True, id="the-first-decides"),
        pytest.param([{"kind": "bridge"}, NAT], None, ("192.168.150.11", 22), True, id="without-address-the-next"),
        pytest.param([{**USER, "ssh_port": None}, BRIDGE], None, ("10.2.0.11", 22), False, id="without-port-the-next"),
        pytest.param([{"kind": "nat"}], LEASES, ("192.168.150.77", 22), True, id="leased"),
    ],
)
def test_where_a_guest_is_reached(
    networks: list[dict[str, Any]], facts: dict[str, Any] | None, target: tuple[str, int], jumps: bool
) -> None:
    route = guest_route(guest(*networks), host(facts))
    assert (route.host, route.port) == target and route.user == "debian"
    assert (route.jump is not None) is jumps
    assert guest_route(guest(*networks), host(facts, ansible_connection="local")).jump is None


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (guest(NAT, key=None), "host key is not known"),
        (guest({"kind": "nat"}), "no address is known on its networks (lan)"),
        (guest(), "(none)"),
    ],
)
def test_a_guest_that_cannot_be_reached_says_why(row: GuestRow, part: str) -> None:
    with pytest.raises(Conflict) as caught:
        guest_route(row, host())
    assert part in caught.value.message and "web-1" in caught.value.message and caught.value.hint


def test_the_jump_is_made_as_the_inventory_says() -> None:
    jump = host_jump(
        host(
            ansible_host="10.0.0.1",
            ansible_port=2200,
            ansible_user="admin",
            ansible_ssh_private_key_file="/keys/a b",
            ansible_ssh_args="-C -o ControlMaster=auto",
            ansible_ssh_common_args="-F '/etc/my config'",
            ansible_ssh_extra_args="",
            ansible_ssh_executable="/opt/ssh",
        )
    )
    words = ("-C", "-o", "ControlMaster=auto", "-F", "/etc/my config")
    assert jump == Jump("10.0.0.1", 2200, "admin", "/keys/a b", words, "/opt/ssh")
    assert host_jump(host()) == Jump("h1")


def test_arguments_that_are_no_words_are_refused() -> None:
    with pytest.raises(BerthError, match="ansible_ssh_"):
        host_jump(host(ansible_ssh_common_args="-F 'open"))


def effective(route: Route, known_hosts: Path, *, batch: bool) -> dict[str, str]:
    """Returns the configuration that ssh itself makes of the options."""
    argv = ["ssh", "-F", "none", "-G", *ssh_options(route, known_hosts, batch=batch), route.host]
    out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in out.splitlines() if " " in line)


@pytest.mark.parametrize("batch", [True, False])
def test_ssh_understands_the_options(tmp_path: Path, batch: bool) -> None:
    jump = Jump("10.0.0.1", user="admin", arguments=("-F", "/a 100%h 'x"))
    route = Route("web-1", UUID, "192.168.150.11", 22, "debian", KEY, jump)
    known = tmp_path / "a %h b" / UUID
    config = effective(route, known, batch=batch)
    assert config["stricthostkeychecking"] == "true" and config["hostkeyalias"] == f"berth-{UUID}"
    assert config["globalknownhostsfile"] == "/dev/null" and config["updatehostkeys"] == "false"
    assert config["userknownhostsfile"].replace("%%", "%") == str(known)
    assert config["batchmode"] == ("yes" if batch else "no")
    words = shlex.split(config["proxycommand"])
    assert words[-3:] == ["-W", "[%h]:%p", "10.0.0.1"]
    assert "/a 100%%h 'x" in words and ("BatchMode=yes" in words) is batch
    assert "User=admin" in words and "ControlPath=none" in words


def test_the_jump_is_started_by_the_launcher(tmp_path: Path) -> None:
    route = Route("web-1", UUID, "192.168.150.11", 22, "debian", KEY, Jump("10.0.0.1"))
    options = ssh_options(route, tmp_path, launcher=("env", "-i 100%"))
    (command,) = [word.removeprefix("ProxyCommand=") for word in options if word.startswith("ProxyCommand=")]
    assert shlex.split(command)[:3] == ["env", "-i 100%%", "ssh"]


def test_the_key_is_kept_under_the_guests_own_name() -> None:
    route = guest_route(guest(USER), host())
    assert route.known_hosts_line == f"berth-{UUID} {' '.join(KEY.split()[:2])}\n"
