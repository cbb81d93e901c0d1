# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth events`, `lock` and `ledger`, as a user runs them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from berth.cloud import find_cloud
from berth.errors import Conflict
from berth.ledger import Ledger
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, BootRecord, Claim, HostUpdate, NewGuest, Resources
from berth.ledger.store_hosts import Refresh

GUEST = "4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001"


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """Returns a cloud whose ledger has one guest, web."""
    (tmp_path / "berth.yml").write_text("name: test\n")
    (tmp_path / "inventory").mkdir()
    with Ledger.open(find_cloud(tmp_path).ledger_url) as ledger:
        begun = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("web",), "req-1"), Owner.of_process())
        guest = NewGuest(GUEST, "default", "web", "small", "tiny", Resources(1, 512, 1024))
        ledger.record_boot(begun.id, BootRecord((guest,)))
        ledger.end_action(begun.id)
    return tmp_path


def berth(cloud: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "berth.cli.app", "--cloud", str(cloud), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_events_tell_who_did_what(cloud: Path) -> None:
    shown = json.loads(berth(cloud, "events", "web", "--format", "json").stdout)
    assert shown["uuid"] == GUEST
    assert [(one["verb"], one["request_id"], one["error"]) for one in shown["actions"]] == [("boot", "req-1", None)]
    assert "boot" in berth(cloud, "events", GUEST).stdout


def test_an_unknown_guest_is_named_with_the_nearest(cloud: Path) -> None:
    done = berth(cloud, "events", "wep")
    assert done.returncode == 3 and "did you mean web" in done.stderr and "Traceback" not in done.stderr


def test_export_is_private_and_can_be_imported(cloud: Path, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    assert berth(cloud, "ledger", "export", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    again = berth(cloud, "ledger", "export", str(file))
    assert again.returncode == 2 and "name a new file" in again.stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "berth.yml").write_text("name: test\n")
    (other / "inventory").mkdir()
    assert berth(other, "ledger", "import", str(file)).returncode == 0
    assert [one["uuid"] for one in json.loads(berth(other, "list", "--format", "json").stdout)] == [GUEST]


def test_check_finds_what_is_wrong_and_repair_mends_it(cloud: Path) -> None:
    left = Claim(GUEST, "h1", Resources(1, 512, 1024), Resources(4, 4096, 4096))
    with Ledger.open(find_cloud(cloud).ledger_url) as ledger:
        ledger.store_hosts(Refresh([HostUpdate("h1", facts={"machine_id": "m"})], {}, "sha256:0", 1.0))
        begun = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("web",), "req-2"), Owner.of_process())
        ledger.move_claim(begun.id, left)
        ledger.end_action(begun.id)
        with ledger._database.write() as connection:
            connection.exec_driver_sql("UPDATE guests SET deleted_at = 1.0, vm_state = 'deleted'")
    done = berth(cloud, "ledger", "check", "--format", "json")
    assert done.returncode == 4 and "berth ledger repair" in done.stderr
    assert any(one["safe"] and GUEST in one["key"] + one["message"] for one in json.loads(done.stdout))
    assert berth(cloud, "ledger", "repair").returncode == 0
    assert berth(cloud, "ledger", "check").returncode == 0


def test_repair_takes_a_persons_word_for_a_run_of_another_machine(cloud: Path) -> None:
    elsewhere = replace(Owner.of_process(), host="elsewhere", machine_id="other", boot_id="other")
    with Ledger.open(find_cloud(cloud).ledger_url) as ledger:
        begun = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("web",), "req-2"), elsewhere)
    assert json.loads(berth(cloud, "ledger", "repair", "--format", "json").stdout) == []
    unknown = berth(cloud, "ledger", "repair", "--run-is-gone", "act-1", "--run-is-gone", begun.id)
    assert unknown.returncode == 4 and "act-1: there is no such action" in unknown.stderr
    done = berth(cloud, "ledger", "repair", "--run-is-gone", begun.id, "--format", "json")
    (mended,) = json.loads(done.stdout)
    assert done.returncode == 0 and mended["key"] == begun.id and "says that its run is gone" in mended["message"]
    with Ledger.open(find_cloud(cloud).ledger_url) as ledger:
        assert ledger.open_actions() == [] and ledger.held_names(begun.id) == ()


def test_an_unknown_state_is_found_by_check_and_ends_other_verbs_with_an_error(cloud: Path) -> None:
    with Ledger.open(find_cloud(cloud).ledger_url) as ledger, ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE guests SET vm_state = 'resting'")
    done = berth(cloud, "ledger", "check", "--format", "json")
    (finding,) = json.loads(done.stdout)
    assert done.returncode == 4 and f"row {GUEST}: vm_state: found 'resting'" in finding["message"]
    listed = berth(cloud, "list")
    assert listed.returncode == 1 and "`berth ledger check` tells where" in listed.stderr
    assert "Traceback" not in done.stderr + listed.stderr


def test_an_import_tells_every_wrong_value(cloud: Path, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    assert berth(cloud, "ledger", "export", str(file)).returncode == 0
    document = json.loads(file.read_text())
    document["tables"]["guests"][0] |= {"vcpus": "many", "created_at": "2024-01-01"}
    file.write_text(json.dumps(document))
    other = tmp_path / "other"
    other.mkdir()
    (other / "berth.yml").write_text("name: test\n")
    done = berth(other, "ledger", "import", str(file))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "table guests, row 1: vcpus: found 'many'" in done.stderr
    assert "table guests, row 1: created_at: found '2024-01-01'" in done.stderr


def test_a_rebuild_wants_a_new_ledger(cloud: Path) -> None:
    done = berth(cloud, "ledger", "rebuild")
    assert done.returncode == 4 and "refresh the hosts into a new one" in done.stderr


def test_a_lock_says_who_where_when_and_why(cloud: Path) -> None:
    assert berth(cloud, "lock", "web", "--reason", "audit").returncode == 0
    lock = json.loads(berth(cloud, "show", "web", "--format", "json").stdout)["locked"]
    assert lock["by"].endswith(f"@{socket.gethostname()}") and lock["reason"] == "audit"
    assert abs(datetime.fromisoformat(lock["at"]).timestamp() - time.time()) < 60
    shown = berth(cloud, "show", "web").stdout
    assert f"by={lock['by']}, reason=audit, at={lock['at']}" in shown
    refused = ActionRequest(Verb.STOP, "default", ("web",), "req-2")
    with Ledger.open(find_cloud(cloud).ledger_url) as ledger:
        with pytest.raises(Conflict, match=f"guest web is locked by {lock['by']} since {re.escape(lock['at'])}: audit"):
            ledger.begin_action(refused, Owner.of_process())
    assert berth(cloud, "unlock", "web").returncode == 0
    assert json.loads(berth(cloud, "show", "web", "--format", "json").stdout)["locked"] is None
