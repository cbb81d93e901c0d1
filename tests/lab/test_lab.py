# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: what the other lab tests rely on."""

import contextlib
import errno
import json
import shlex
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lab import layout
from lab.cloud import LabCloud
from lab.cluster import Lab
from lab.leftovers import difference, snapshot
from lab.shell import LabError, output

pytestmark = pytest.mark.lab


def test_every_host_accepts_a_login_and_runs_its_suite(lab: Lab) -> None:
    seen = [(host.name, host.ssh("hostname; . /etc/os-release; echo $VERSION_CODENAME").stdout) for host in lab.hosts]
    assert seen == [("h1", "h1\nbookworm\n"), ("h2", "h2\nbookworm\n"), ("h3", "h3\ntrixie\n")]


def test_suites_bring_their_own_libvirt(lab: Lab) -> None:
    versions = [host.ssh("virsh version | sed -n 's/Using library: libvirt //p'").stdout for host in lab.hosts]
    assert versions[0] == versions[1] == "9.0.0\n"
    assert versions[2].startswith("11.")


def test_every_host_has_its_own_identity(lab: Lab) -> None:
    identities = {host.ssh("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub").stdout for host in lab.hosts}
    assert len(identities) == 3


def test_hosts_reach_each_other(lab: Lab) -> None:
    first, _, last = lab.hosts
    banner = first.ssh(f"exec 3<>/dev/tcp/{last.ip}/22 && head -c 4 <&3")
    assert banner.stdout == "SSH-"
    assert first.ssh("ping -c 1 -W 5 h3").returncode == 0


def test_shared_folder_is_one(lab: Lab) -> None:
    first, _, last = lab.hosts
    first.exec("echo here >/srv/shared/seen")
    try:
        assert last.exec("cat /srv/shared/seen").stdout == "here\n"
    finally:
        first.exec("rm /srv/shared/seen")


def test_no_packet_to_a_lab_address_leaves_this_machine(lab: Lab) -> None:
    unused = f"{layout.PREFIX}.255.1"
    assert f"unreachable {layout.PREFIX}.0.0/16 metric 4096" in output("ip", "route", "show", "type", "unreachable")
    with socket.socket() as probe, pytest.raises(OSError) as refused:
        probe.settimeout(5)
        probe.connect((unused, 22))
    assert refused.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)


def test_hosts_have_no_way_out(lab: Lab) -> None:
    host = lab.host("h1")
    assert host.exec("ip route show default").stdout == ""
    # 192.0.2.0/24 is reserved for documentation (RFC 5737).
    assert "unreachable" in host.exec("ip route get 192.0.2.1", check=False).stderr


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/archive/dists/bookworm/InRelease", 200),
        ("/security/dists/trixie-security/InRelease", 200),
        ("/archive/dists/../../etc/passwd", 403),
        ("/archive/dists/%2e%2e/x", 403),
        ("/other", 403),
        ("http://example.invalid/debian/dists/x", 403),
    ],
)
def test_proxy_passes_the_package_archive_and_nothing_else(lab: Lab, path: str, status: int) -> None:
    with contextlib.closing(HTTPConnection(lab.layout.gateways[0], lab.layout.proxy_port, timeout=30)) as proxy:
        proxy.request("HEAD", path)
        assert proxy.getresponse().status == status


def test_a_host_installs_packages(lab: Lab) -> None:
    host = lab.host("h3")
    host.ssh("apt-get update -qq && apt-get install -y -qq tree </dev/null", timeout=180)
    assert host.ssh("tree --version").stdout.startswith("tree v")


def test_nat_network_starts(lab: Lab) -> None:
    xml = (
        "<network><name>labtest</name><forward mode='nat'/><bridge name='virbr77'/>"
        "<ip address='192.168.177.1' netmask='255.255.255.0'>"
        "<dhcp><range start='192.168.177.2' end='192.168.177.9'/></dhcp></ip></network>"
    )
    for host in (lab.host("h1"), lab.host("h3")):
        before = snapshot(host)
        host.exec(f"echo {json.dumps(xml)} >/run/labtest.xml && virsh net-create /run/labtest.xml")
        try:
            assert "192.168.177.1/24" in host.exec("ip -4 -o addr show virbr77").stdout
            assert "labtest active" in snapshot(host).sections["networks"]
        finally:
            host.exec("virsh net-destroy labtest; rm /run/labtest.xml")
        left = [line for line in difference(before, snapshot(host)).splitlines() if "LIBVIRT" not in line]
        # libvirt keeps its (empty) chains and the folder of the first network that was ever started.
        assert not [line for line in left if " firewall: " not in line and " files: " not in line]


def test_power_cut_ends_everything_and_the_disk_stays(lab: Lab) -> None:
    host = lab.host("h2")
    host.exec("echo kept >/var/lib/kept && sync /var/lib/kept")
    host.ssh("systemd-run --quiet sleep 4242")
    init, marker = host.leader(), f"--machine={host.machine}"
    boot = host.exec("cat /proc/1/stat | cut -d ' ' -f 22").stdout
    host.power_cut()
    try:
        assert not Path(f"/proc/{init}").exists()
        assert not [line for line in command_lines() if marker in line or line == "sleep 4242"]
        assert host.leader() is None
        assert host.ssh("true", check=False).returncode == 255
        with pytest.raises(LabError, match="h2 is not running"):
            host.exec("true")
        assert lab.host("h1").ssh("true").returncode == 0
    finally:
        lab.power_on("h2")
    assert host.exec("systemctl is-system-running --wait", check=False).stdout == "running\n"
    assert host.ssh("cat /var/lib/kept; rm /var/lib/kept").stdout == "kept\n"
    assert host.exec("cat /proc/1/stat | cut -d ' ' -f 22").stdout != boot


def test_snapshot_sees_what_is_planted(lab: Lab) -> None:
    host = lab.host("h1")
    before = snapshot(host)
    assert difference(before, snapshot(host)) == ""
    host.exec(
        "touch /var/lib/libvirt/images/planted && nft add table inet planted"
        " && ip link add planted type bridge && cp /bin/sleep /run/qemu-planted"
    )
    host.ssh("systemd-run --quiet --unit planted /run/qemu-planted 300")
    found = difference(before, snapshot(host))
    host.exec(
        "systemctl stop planted; rm /var/lib/libvirt/images/planted /run/qemu-planted;"
        " nft delete table inet planted; ip link del planted"
    )
    assert "h1 files: + /var/lib/libvirt/images/planted -rw-r--r-- root" in found.splitlines()
    assert "h1 links: + planted" in found.splitlines()
    assert "h1 processes: + /run/qemu-planted 300" in found.splitlines()
    assert "h1 firewall: + table inet planted" in found
    assert difference(before, snapshot(host)) == ""


def test_a_kept_connection_takes_its_jump_along_and_a_lone_jump_is_found(lab: Lab, tmp_path: Path) -> None:
    near, far, _ = lab.hosts
    jump = ["ssh", "-F", str(lab.layout.ssh_config), "-o", "ControlPath=none", "-W", f"[{far.ip}]:22", near.ip]
    kept = {"ControlMaster": "auto", "ControlPersist": "60", "ControlPath": str(tmp_path / "kept")}
    options = {**kept, "HostKeyAlias": far.name, "ProxyCommand": shlex.join(jump)}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    cloud = LabCloud(lab, tmp_path / "cloud")
    cloud.run(["ssh", "-F", str(lab.layout.ssh_config), *words, far.ip, "true"])
    assert (tmp_path / "kept").is_socket()
    assert cloud.local() == []
    stuck = [sys.executable, "-c", "import time; time.sleep(60)", "-W", f"[{far.ip}]:22"]
    with cloud.start(stuck) as lone:
        try:
            assert cloud.local() == [" ".join(stuck)]
        finally:
            lone.kill()


def test_inventory_serves_ansible(lab: Lab, lab_inventory: Path) -> None:
    listed = json.loads(lab_inventory.read_text())["compute"]["hosts"]
    assert listed["h3"] == {"ansible_host": lab.host("h3").ip, "berth_migration_address": lab.host("h3").ip}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible"), "-i", lab_inventory, "compute", "-m", "ansible.builtin.ping"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("SUCCESS") == 3, done.stdout + done.stderr


def command_lines() -> list[str]:
    """Command lines of all processes of this machine."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text(errors="replace").replace("\0", " ").strip())
        except OSError:
            continue
    return lines
