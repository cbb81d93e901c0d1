# SPDX-License-Identifier: GPL-3.0-or-later
"""berth.kvm.guests read by the real ansible-inventory from a real ledger."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from berth.ledger.model import PowerState, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, BootRecord, Claim, GuestResult, HostUpdate, NewGuest, Resources
from berth.ledger.store import Ledger
from berth.ledger.store_hosts import Refresh

BIN = Path(sys.executable).parent
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEKkHVMNY0S4gKy6iiJ2e7QK3AbhZ2qPz4MHqEKlS2BQ"
SIZE = Resources(1, 512, 1024)


def new_guest(number: int, name: str, project: str, metadata: dict[str, str], kind: str) -> NewGuest:
    interface = {"network": "lan", "kind": kind, "mac": None, "address": f"192.168.150.{number}", "ssh_port": None}
    plan = {
        "login_user": "debian",
        "domain_name": name if project == "default" else f"{project}.{name}",
        "networks": [interface],
    }
    uuid = f"4b1d0000-0000-4000-8000-{number:012d}"
    return NewGuest(uuid, project, name, "m1.small", "debian-12", SIZE, None, metadata, plan)


GUESTS = (
    new_guest(1, "web-1", "default", {"role": "web front"}, "nat"),
    new_guest(2, "db", "shop", {}, "bridge"),
    new_guest(3, "off", "default", {}, "nat"),
)


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    (tmp_path / "berth.yml").write_text("name: test\n")
    access = {"ansible_host": "10.0.0.1", "ansible_user": "root", "ansible_ssh_common_args": "-F '/etc/a b'"}
    facts = {"machine_id": "m1"}
    host = HostUpdate("h1", facts, None, ("compute",), {"berth_availability_zone": "rack 1"}, access)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.store_hosts(Refresh([host], {}, "digest", 1.0))
        for guest in GUESTS:
            request = ActionRequest(Verb.BOOT, guest.project, (guest.name,), "req", guest.name, {})
            action = ledger.begin_action(request, Owner.of_process())
            limits = Resources(8, 8192, 100_000)
            ledger.record_boot(action.id, BootRecord((guest,), (Claim(guest.uuid, "h1", SIZE, limits),)))
            ledger.finish_guests(
                [GuestResult(guest.uuid, VmState.ACTIVE, PowerState.RUNNING, "h1", KEY, launched_at=1.0)]
            )
            ledger.end_action(action.id)
    (tmp_path / "guests.berth.yml").write_text("plugin: berth.kvm.guests\n")
    stop(tmp_path)
    return tmp_path


def stop(folder: Path) -> None:
    from berth.ledger.rows import StateChange

    change = StateChange(frozenset({VmState.ACTIVE}), frozenset(), VmState.STOPPED, None, PowerState.SHUTDOWN)
    with Ledger.open(f"sqlite:///{folder}/ledger.sqlite") as ledger:
        ledger.set_states([GUESTS[2].uuid], change)


def ansible(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd), "ANSIBLE_ANY_UNPARSED_IS_FAILED": "1"}
    environment["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] = "1"
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def inventory(file: Path, *, cwd: Path) -> dict[str, Any]:
    done = ansible("ansible-inventory", "-i", file, "--list", cwd=cwd)
    assert done.returncode == 0, done.stderr
    # ansible-inventory marks what must never be templated; all that comes from the ledger is.
    found: dict[str, Any] = json.loads(done.stdout, object_hook=lambda data: data.get("__ansible_unsafe", data))
    return found


def test_running_guests_are_hosts_with_their_groups_and_keys(cloud: Path) -> None:
    found = inventory(cloud / "guests.berth.yml", cwd=cloud)
    hosts = found["_meta"]["hostvars"]
    assert set(hosts) == {"web-1", "shop.db"}
    assert hosts["web-1"]["ansible_host"] == "192.168.150.1" and hosts["web-1"]["ansible_user"] == "debian"
    for group, members in {
        "guests": {"web-1", "shop.db"},
        "project_shop": {"shop.db"},
        "host_h1": {"web-1", "shop.db"},
        "flavor_m1_small": {"web-1", "shop.db"},
        "zone_rack_1": {"web-1", "shop.db"},
        "meta_role_web_front": {"web-1"},
    }.items():
        assert set(found[group]["hosts"]) == members, group
    words = shlex.split(hosts["web-1"]["ansible_ssh_common_args"])
    known = next(word for word in words if word.startswith("UserKnownHostsFile=")).partition("=")[2].strip('"')
    assert Path(known).read_text() == f"berth-{GUESTS[0].uuid} {KEY}\n" and Path(known).parent.parent.parent == cloud
    assert any("ProxyCommand=" in word and "/etc/a b" in word for word in words)
    assert "ProxyCommand" not in hosts["shop.db"]["ansible_ssh_common_args"]


def test_groups_and_variables_of_ones_own(cloud: Path) -> None:
    elsewhere = cloud / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my-guests.yml").write_text(
        "plugin: berth.kvm.guests\ncloud: ..\nprojects: [shop]\ncompose: {ansible_user: berth_project ~ '-user'}\n"
        "keyed_groups: [{key: berth_image, prefix: image}]\ngroups: {small: berth_vcpus < 2}\n"
    )
    found = inventory(elsewhere / "my-guests.yml", cwd=elsewhere)
    assert set(found["_meta"]["hostvars"]) == {"shop.db"}
    assert found["_meta"]["hostvars"]["shop.db"]["ansible_user"] == "shop-user"
    assert found["image_debian_12"]["hosts"] == ["shop.db"] == found["small"]["hosts"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("plugin: berth.kvm.guests\ncloud: nowhere\n", "no cloud in"),
        ("plugin: berth.kvm.guests\nprojets: [a]\n", "did you mean 'projects'?"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(cloud: Path, content: str, part: str) -> None:
    (cloud / "guests.berth.yml").write_text(content)
    done = ansible("ansible-inventory", "-i", cloud / "guests.berth.yml", "--list", cwd=cloud)
    assert "Traceback" not in done.stderr
    assert done.returncode != 0 and part in done.stderr


def test_a_guest_is_reached_only_with_its_key(cloud: Path) -> None:
    """The options reach ssh: asked to say what it would do, it names the jump and the guest's own key."""
    done = ansible(
        "ansible", "-i", cloud / "guests.berth.yml", "shop.db", "-m", "ansible.builtin.raw", "-a", "true", "-vvv",
        "-e", "ansible_ssh_executable=/bin/echo", cwd=cloud,
    )  # fmt: skip
    assert f"HostKeyAlias=berth-{GUESTS[1].uuid}" in done.stdout and "StrictHostKeyChecking=yes" in done.stdout
    assert f"berth-{GUESTS[1].uuid.replace('-', '')[:12]}-%r" in done.stdout
