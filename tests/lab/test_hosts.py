# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts, refresh, doctor and the way to guests, on real hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.ledger.model import PowerState, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, BootRecord, Claim, GuestResult, NewGuest, Resources
from berth.ledger.store import Ledger
from lab import layout
from lab.cluster import Lab

pytestmark = pytest.mark.lab
BIN = Path(sys.executable).parent


class Cloud:
    """A cloud on the lab's hosts, used as a user would."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder = folder
        self.berth("init", str(folder), cloud=False)
        (folder / "inventory" / "hosts.yml").unlink()
        lab.write_inventory(folder / "inventory" / "hosts.json")

    def run(self, *words: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout_s
        )

    def berth(self, *words: str, cloud: bool = True, status: int = 0) -> str:
        where = ("--cloud", str(self.folder)) if cloud else ()
        done = subprocess.run(
            [str(BIN / "berth"), *where, *words], capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def ledger(self) -> Ledger:
        return Ledger.open(f"sqlite:///{self.folder}/ledger.sqlite")

    def findings(self, *hosts: str, status: int) -> dict[tuple[str, str], dict[str, str]]:
        found = json.loads(self.berth("doctor", *hosts, "--format", "json", status=status))
        return {(each["host"], each["check"]): each for each in found}


@pytest.fixture
def cloud(lab: Lab, tmp_path: Path) -> Cloud:
    return Cloud(lab, tmp_path / "cloud")


@pytest.fixture
def with_domain(lab: Lab) -> Iterator[str]:
    """Returns the UUID of a domain with our record and a disk on the second host."""
    uuid = "4b1d0000-0000-4000-8000-0000000000aa"
    xml = f"""<domain type="qemu"><name>facts</name><uuid>{uuid}</uuid><metadata>
<berth:guest xmlns:berth="urn:berth:guest:1" uuid="{uuid}">{{"version": 1, "name": "facts"}}</berth:guest></metadata>
<memory unit="MiB">64</memory><vcpu>1</vcpu><os><type arch="x86_64" machine="q35">hvm</type></os><devices>
<disk type="file"><driver name="qemu" type="qcow2"/><source file="/var/tmp/facts.qcow2"/><target dev="vda"/></disk>
</devices></domain>"""
    host = lab.host("h2")
    host.ssh("qemu-img create -q -f qcow2 /var/tmp/facts.qcow2 3G")
    host.ssh(f"cat >/tmp/facts.xml <<'E'\n{xml}\nE\nvirsh -q define /tmp/facts.xml")
    yield uuid
    host.ssh("virsh -q undefine facts; rm -f /tmp/facts.xml /var/tmp/facts.qcow2")


def test_facts_of_both_releases(lab: Lab, cloud: Cloud, with_domain: str) -> None:
    cloud.berth("host", "refresh")
    with cloud.ledger() as ledger:
        facts = {host.name: host.facts or {} for host in ledger.hosts()}
    assert facts["h1"]["os"] == {"id": "debian", "version": "12", "family": "Debian"}
    assert facts["h1"]["libvirt_version"] == 9000000 and facts["h3"]["libvirt_version"] > 11000000
    for name, found in facts.items():
        assert found["machine_id"] == lab.host(name).ssh("cat /etc/machine-id").stdout.strip()
        assert found["virtualization"]["domain_type"] == "qemu" and found["virtualization"]["reason"]
        assert found["clock_offset_s"] == 0.0 and found["daemon"]["flavor"] == "monolithic"
        assert found["firmware"]["bios"] and found["machines"]["q35"].startswith("pc-q35-")
    (domain,) = facts["h2"]["domains"]
    assert domain["uuid"] == with_domain and domain["record"]["name"] == "facts"
    assert domain["disks"] == [
        {"target": "vda", "path": "/var/tmp/facts.qcow2", "format": "qcow2", "capacity_mib": 3072}
    ]
    assert facts["h1"]["domains"] == []


def test_a_second_refresh_changes_nothing_on_the_hosts(lab: Lab, cloud: Cloud) -> None:
    folders = "/etc /root /tmp /var/lib/berth /var/tmp"
    each = "\\( -type d -printf '%p\\n' -o -printf '%p %s %T@\\n' \\)"
    look = f"find {folders} -xdev {each} 2>/dev/null | sort"
    cloud.berth("host", "refresh")
    before = {host.name: host.exec(look).stdout.splitlines() for host in lab.hosts}
    cloud.berth("host", "refresh")
    assert {host.name: host.exec(look).stdout.splitlines() for host in lab.hosts} == before
    assert all(len(lines) > 100 for lines in before.values())


def test_silent_hosts_leave_the_others_right(lab: Lab, cloud: Cloud) -> None:
    cloud.berth("host", "refresh")
    units = "libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
    lab.host("h3").power_cut()
    lab.host("h2").ssh(f"systemctl stop {units}")
    try:
        cloud.berth("host", "refresh", status=7)
        found = cloud.findings(status=6)
    finally:
        # The socket for TLS went with this one and does not come back with it.
        tls = "if systemctl -q is-enabled libvirtd-tls.socket; then systemctl start libvirtd-tls.socket; fi"
        lab.host("h2").ssh(f"systemctl start libvirtd.socket; {tls}")
        lab.power_on("h3")
    with cloud.ledger() as ledger:
        hosts = {host.name: host for host in ledger.hosts()}
    assert hosts["h1"].unreachable_message is None
    assert "libvirt" in (hosts["h2"].unreachable_message or "")
    assert hosts["h3"].facts is not None and hosts["h3"].unreachable_message  # the last known ones stay
    assert found["h1", "libvirt"]["status"] == "ok"
    assert found["h2", "libvirt"]["status"] == "fail" and "host prepare h2" in found["h2", "libvirt"]["fix"]
    assert found["h3", "ssh"]["status"] == "fail"
    assert [check for host, check in found if host == "h3"] == ["ssh"]
    cloud.berth("host", "refresh")


def test_the_doctor_finds_what_is_missing_and_says_how_to_mend_it(lab: Lab, cloud: Cloud) -> None:
    host = lab.host("h1")
    host.ssh("mv /usr/bin/qemu-img /usr/bin/qemu-img.away; mkdir -p /var/lib/berth/instances")
    try:
        found = cloud.findings("h1", status=6)
    finally:
        host.ssh("mv /usr/bin/qemu-img.away /usr/bin/qemu-img")
    assert {name for name, _check in found} == {"controller", "h1"}
    assert found["h1", "tools"]["found"] == "missing: qemu-img" and "qemu-utils" in found["h1", "tools"]["fix"]
    assert found["h1", "instances"]["status"] == "ok"
    assert found["h1", "kvm"]["status"] == "warn" and "EMULATED" in found["h1", "kvm"]["found"]


def record_stand_in(lab: Lab, cloud: Cloud) -> str:
    """Records host h2 as a guest of h1 on a NAT network, so that the way to it leads through h1; returns its UUID."""
    target = lab.host("h2")
    key = " ".join(target.ssh("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[:2])
    uuid, size = "4b1d0000-0000-4000-8000-0000000000bb", Resources(1, 64, 1024)
    interface = {"network": "lan", "kind": "nat", "mac": None, "address": target.ip, "ssh_port": None}
    plan = {"login_user": "root", "domain_name": "web-1", "networks": [interface]}
    guest = NewGuest(uuid, "default", "web-1", "m1.tiny", "debian-12", size, None, {"role": "web"}, plan)
    with cloud.ledger() as ledger:
        action = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("web-1",), "r", "d", {}), Owner.of_process())
        limits = Resources(8, 8192, 100_000)
        ledger.record_boot(action.id, BootRecord((guest,), (Claim(uuid, "h1", size, limits),)))
        ledger.finish_guests([GuestResult(uuid, VmState.ACTIVE, PowerState.RUNNING, "h1", key, launched_at=1.0)])
        ledger.end_action(action.id)
    return uuid


def test_the_way_to_a_guest_leads_through_its_host(lab: Lab, cloud: Cloud) -> None:
    cloud.berth("host", "refresh", "h1")
    uuid = record_stand_in(lab, cloud)
    identity = str(layout.base_dir() / "id_ed25519")
    assert cloud.berth("ssh", "--identity", identity, "web-1", "hostname") == "h2\n"
    assert cloud.berth("ssh", "--identity", identity, "web-1", "exit 3", status=3) == ""
    came_from = lab.host("h2").exec("journalctl -u ssh -n 50 -o cat | grep Accepted | tail -n 1").stdout
    assert f"from {lab.host('h1').ip} " in came_from
    pinged = cloud.run(
        "ansible", "-i", "guests.berth.yml", "meta_role_web", "-m", "ansible.builtin.ping", "--private-key", identity
    )
    assert pinged.returncode == 0 and "web-1 | SUCCESS" in pinged.stdout, pinged.stdout + pinged.stderr
    other = lab.host("h3").ssh("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[1]
    with cloud.ledger() as ledger:
        ledger.finish_guests(
            [GuestResult(uuid, VmState.ACTIVE, PowerState.RUNNING, ssh_host_key=f"ssh-ed25519 {other}")]
        )
    cloud.berth("ssh", "--identity", identity, "web-1", "hostname", status=255)
    assert "web-1 | UNREACHABLE" in cloud.run(
        "ansible", "-i", "guests.berth.yml", "guests", "-m", "ansible.builtin.ping", "--private-key", identity,
        "-e", "ansible_control_path=none",
    ).stdout  # fmt: skip
