# SPDX-License-Identifier: GPL-3.0-or-later
"""The three ways a libvirtd listens. The unit lists are what systemctl says on Debian 12 and, for modular, Fedora."""

import pytest

from berth.errors import InvalidInput
from berth.verbs.daemon_plan import daemon_plan

MONOLITHIC = """\
libvirt-guests.service     enabled  enabled
libvirtd-admin.socket      enabled  enabled
libvirtd-ro.socket         enabled  enabled
libvirtd-tcp.socket        disabled enabled
libvirtd-tls.socket        disabled enabled
libvirtd.service           enabled  enabled
libvirtd.socket            enabled  enabled
virtlogd.socket            enabled  enabled
"""
MASKED = MONOLITHIC.replace("socket      enabled", "socket      masked ").replace(
    "libvirtd.socket            enabled", "libvirtd.socket            masked"
)
MASKED = MASKED.replace("libvirtd-ro.socket         enabled", "libvirtd-ro.socket         masked")
MASKED = MASKED.replace("disabled", "masked")
DRIVERS = (
    "virtqemud",
    "virtnetworkd",
    "virtstoraged",
    "virtnodedevd",
    "virtsecretd",
    "virtnwfilterd",
    "virtinterfaced",
)
MODULAR = "".join(f"{name}.service enabled enabled\n{name}.socket enabled enabled\n" for name in DRIVERS) + "".join(
    f"virtproxyd{end} {state} enabled\n"
    for end, state in (
        (".service", "enabled"),
        (".socket", "enabled"),
        ("-ro.socket", "enabled"),
        ("-admin.socket", "enabled"),
        ("-tls.socket", "disabled"),
        ("-tcp.socket", "disabled"),
    )
)
# Fedora and RHEL 9 carry both; the monolithic one is disabled there.
BOTH = MODULAR + MONOLITHIC.replace("enabled  enabled", "disabled enabled")


def active(*units):
    return "".join(f"{unit} loaded active running Something\n" for unit in units)


LOCAL = ["libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"]


@pytest.mark.parametrize("transport", ["tls", "tcp"])
def test_sockets(transport):
    plan = daemon_plan(MONOLITHIC, active(*LOCAL), transport)
    other = "tcp" if transport == "tls" else "tls"
    assert plan["port_socket"] == f"libvirtd-{transport}.socket"
    # The port's socket first: systemd then starts libvirtd.socket with it, before anything can start the service.
    assert plan["start"] == [f"libvirtd-{transport}.socket", *LOCAL]
    assert f"libvirtd-{other}.socket" in plan["disable"]
    assert (plan["mask"], plan["options"], plan["listen_mode"]) == ([], "", "socket")
    assert plan["drift"] == [
        f"libvirtd-{transport}.socket is not enabled",
        f"libvirtd-{transport}.socket is not active",
    ]


def test_ssh_opens_no_port():
    plan = daemon_plan(MONOLITHIC, active(*LOCAL), "ssh")
    assert plan["port_socket"] == ""
    assert plan["start"] == LOCAL
    assert plan["disable"] == ["libvirtd-tls.socket", "libvirtd-tcp.socket"]
    assert plan["drift"] == []


def test_a_port_that_must_not_be_open_is_drift():
    plan = daemon_plan(MONOLITHIC, active(*LOCAL, "libvirtd-tcp.socket"), "ssh")
    assert plan["drift"] == ["libvirtd-tcp.socket must not run"]


@pytest.mark.parametrize(
    ("unit_files", "listen_mode"), [(MASKED, "auto"), (MASKED, "listen"), (MONOLITHIC, "listen")], ids=str
)
def test_listening_by_itself(unit_files, listen_mode):
    plan = daemon_plan(unit_files, active("libvirtd.service"), "tls", "auto", listen_mode)
    assert plan["listen_mode"] == "listen"
    assert plan["options"] == "--listen --timeout 0"
    assert sorted(plan["mask"]) == sorted([*LOCAL, "libvirtd-tls.socket", "libvirtd-tcp.socket"])
    assert plan["start"] == ["libvirtd.service"]
    assert plan["port_socket"] == ""
    assert bool(plan["drift"]) is (unit_files is MONOLITHIC)


def test_back_from_listening_to_sockets():
    plan = daemon_plan(MASKED, active("libvirtd.service"), "tls", "auto", "socket")
    assert plan["unmask"] == ["libvirtd-tls.socket", *LOCAL]
    assert plan["options"] == ""
    assert "libvirtd-tls.socket is not enabled" in plan["drift"]


def test_a_service_is_enabled_before_its_sockets_are_masked():
    disabled = MASKED.replace("libvirtd.service           enabled", "libvirtd.service           disabled")
    plan = daemon_plan(disabled, "", "tls", "auto", "listen")
    assert set(plan["unmask"]) == set(plan["mask"])
    assert list(plan).index("enable") < list(plan).index("mask")


def test_listening_by_itself_with_ssh_neither_opens_a_port_nor_ends_when_idle():
    assert daemon_plan(MASKED, "", "ssh")["options"] == "--timeout 0"


@pytest.mark.parametrize(
    ("unit_files", "flavour", "expected"),
    [
        pytest.param(MONOLITHIC, "auto", "monolithic", id="only libvirtd"),
        pytest.param(MODULAR, "auto", "modular", id="only modular"),
        pytest.param(BOTH, "auto", "modular", id="both there, modular enabled"),
        pytest.param(BOTH, "monolithic", "monolithic", id="both there, libvirtd asked for"),
        pytest.param(MODULAR + MONOLITHIC, "auto", "monolithic", id="both enabled: what serves stays"),
        pytest.param(MASKED, "auto", "monolithic", id="libvirtd with masked sockets"),
        pytest.param("", "auto", "monolithic", id="nothing yet: a dry run"),
    ],
)
def test_flavour(unit_files, flavour, expected):
    assert daemon_plan(unit_files, "", "tls", flavour)["flavour"] == expected


def test_modular_daemons_take_connections_through_the_proxy():
    plan = daemon_plan(BOTH, active("libvirtd.socket"), "tls", "modular")
    assert (plan["daemon"], plan["configuration"], plan["options_variable"]) == (
        "virtproxyd",
        "virtproxyd.conf",
        "VIRTPROXYD_ARGS",
    )
    assert plan["port_socket"] == "virtproxyd-tls.socket"
    assert plan["uuid_configurations"][:2] == ["virtproxyd.conf", "virtqemud.conf"]
    assert {"virtqemud.socket", "virtnetworkd.socket", "virtstoraged.socket", "virtproxyd-tls.socket"} <= set(
        plan["start"]
    )
    assert {"libvirtd.service", "libvirtd.socket", "libvirtd-tls.socket"} <= set(plan["disable"])
    assert "libvirtd.socket must not run" in plan["drift"]
    assert "virtlogd.socket" not in plan["disable"] + plan["halt"]


def test_modular_proxy_may_listen_by_itself():
    plan = daemon_plan(MODULAR, "", "tcp", "modular", "listen")
    assert plan["options"] == "--listen --timeout 0"
    assert "virtproxyd.service" in plan["start"]
    assert "virtproxyd-tcp.socket" in plan["mask"]
    assert "virtqemud.socket" in plan["start"]


def test_only_units_of_the_host_are_named():
    plan = daemon_plan(MONOLITHIC, "", "tls")
    known = {line.split()[0] for line in MONOLITHIC.splitlines()}
    assert all(set(plan[name]) <= known for name in ("halt", "disable", "unmask", "mask", "enable", "start"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param((MONOLITHIC, "", "udp"), "transport 'udp'; allowed: tls, ssh, tcp", id="transport"),
        pytest.param((MONOLITHIC, "", "tls", "split"), "flavour 'split'", id="flavour"),
        pytest.param((MONOLITHIC, "", "tls", "auto", "both"), "listen_mode 'both'", id="listen mode"),
        pytest.param((MONOLITHIC, "", "tls", "modular"), "no modular daemons", id="no modular daemons"),
        pytest.param((MODULAR, "", "tls", "monolithic"), "no libvirtd", id="no libvirtd"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        daemon_plan(*arguments)
