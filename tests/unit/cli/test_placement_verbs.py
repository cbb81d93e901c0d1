# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth place`, `simulate`, `capacity`, `rebalance` and `host export`, as a user runs them."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh

_FLOW = runpy.run_path(str(Path(__file__).parents[1] / "verbs" / "test_boot_flow.py"))
cloud = _FLOW["cloud"]
booted = _FLOW["booted"]
facts = _FLOW["facts"]

WEB = ("place", "web", "--flavor", "small", "--image", "tiny", "--network", "lan")
PLACEMENT = """
profiles:
  default: {}
  pack: {multipliers: {ram_weight_multiplier: -1.0, cpu_weight_multiplier: -1.0}}
"""


def berth(cloud: Cloud | None, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    where = ["--cloud", str(cloud.path)] if cloud else []
    command = [sys.executable, "-m", "berth.cli.app", *where, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def data(cloud: Cloud | None, *arguments: str, code: int = 0) -> Any:
    return json.loads(berth(cloud, *arguments, "--format", "json", code=code).stdout)


def asked(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "flavor": "small", "image": "tiny", "networks": ["lan"], **more}


@pytest.fixture
def fleet(cloud: Cloud) -> Cloud:
    """Four hosts of different sizes, in two zones and an aggregate, with guests of two projects and a group."""
    updates = [
        HostUpdate(
            f"h{n}",
            facts=facts(f"h{n}", memory_mib=4096 + 512 * n),
            groups=("compute", "fast") if n % 2 else ("compute",),
            variables={"berth_availability_zone": "east" if n < 3 else "west"},
        )
        for n in range(1, 5)
    ]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh(updates, {"fast": {"ssd": True}}, "", time.time()))
        ledger.count_build("h4", ok=False)
    (cloud.catalog_path / "projects.yml").write_text("projects: [{name: lab}]\n")
    (cloud.catalog_path / "placement.yml").write_text(PLACEMENT)
    booted(cloud, asked("spread", count=2, group={"name": "g", "policy": "anti-affinity"}))
    booted(cloud, asked("spread", count=1, project="lab", group={"name": "g", "policy": "affinity"}))
    return cloud


CHOICES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, ()),
    "packed": ({"profile": "pack"}, ("--profile", "pack")),
    "zone": ({"availability_zone": "east"}, ("--availability-zone", "east")),
    "forced": ({"availability_zone": ":h2"}, ("--availability-zone", ":h2")),
    "apart": ({"group": "g"}, ("--group", "g")),
    "together, of another project": ({"project": "lab", "group": "lab/g"}, ("--project", "lab", "--group", "g")),
    "five": ({"count": 5}, ("--count", "5")),
    "query": ({"hints": {"query": ["=", "$host", "h4"]}}, ("--query", '["=", "$host", "h4"]')),
}


@pytest.mark.parametrize(("request_text", "options"), CHOICES.values(), ids=CHOICES)
def test_an_exported_fleet_gives_the_same_choice(
    fleet: Cloud, tmp_path: Path, request_text: dict[str, Any], options: tuple[str, ...]
) -> None:
    exported, requests = tmp_path / "fleet.yml", tmp_path / "requests.yml"
    berth(fleet, "host", "export", str(exported))
    flavor = {"vcpus": 1, "memory_mib": 512, "disk_gib": 2}
    wanted = {"name": "web", "flavor": "small", "image": "tiny", **request_text}
    requests.write_text(yaml.safe_dump({"flavors": {"small": flavor}, "requests": [wanted]}))
    live = data(fleet, *WEB, *options)["placements"]
    played = data(None, "simulate", str(exported), str(requests))["outcomes"][0]["placements"]
    assert [(one["host"], one["alternates"]) for one in played] == [(one["host"], one["alternates"]) for one in live]
    assert [one["score"] for one in played] == [one["score"] for one in live]


def test_export_holds_to_the_schema_and_is_not_overwritten(fleet: Cloud, tmp_path: Path) -> None:
    schema = json.loads(berth(None, "simulate", "--schema").stdout)
    printed = yaml.safe_load(berth(fleet, "host", "export").stdout)
    jsonschema.validate(printed, schema)
    assert printed["groups"].keys() == {"g", "lab/g"}
    assert printed["placement"]["profiles"]["pack"]["options"] == {"facts_max_age_s": 86400}
    assert data(fleet, "host", "export")["hosts"][3]["failed_builds"] > 0.9
    file = tmp_path / "fleet.yml"
    berth(fleet, "host", "export", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert "name a new file" in berth(fleet, "host", "export", str(file), code=2).stderr
    assert "--format yaml" in berth(fleet, "host", "export", "--format", "table", code=2).stderr


def test_simulate_tells_survivors_choice_and_what_is_left(tmp_path: Path) -> None:
    fleet_file, requests = tmp_path / "fleet.yml", tmp_path / "requests.yml"
    hosts = [{"name": f"c{n}", "vcpus_total": 4, "memory_mib_total": 4608, "disk_mib_total": 102400} for n in (1, 2)]
    fleet_file.write_text(yaml.safe_dump({"hosts": hosts}))
    requests.write_text(
        "requests:\n- {name: web, vcpus: 1, memory_mib: 4096}\n- {name: huge, vcpus: 1, memory_mib: 9999}\n"
    )
    done = berth(None, "simulate", str(fleet_file), str(requests), code=5)
    assert "web: 2 hosts > NamedHosts 2 > ComputeFilter 2 > Resources 2" in done.stdout
    assert "c1: 1 guests, vCPUs 1/16, memory 4096/4096 MiB" in done.stdout
    assert "1 of 2 requests were not served" in done.stderr and "guest huge: none of 2 hosts" in done.stderr
    explained = berth(None, "simulate", str(fleet_file), str(requests), "--explain", code=5).stdout
    assert "c2: Resources: memory" in explained and "RAMWeigher 1 x" in explained
    played = data(None, "simulate", str(fleet_file), str(requests), code=5)
    assert [outcome["ok"] for outcome in played["outcomes"]] == [True, False]
    assert played["after"]["hosts"][0]["memory_mib_used"] == 4096


def test_simulate_names_every_mistake_with_file_and_line(tmp_path: Path) -> None:
    fleet_file, requests = tmp_path / "fleet.yml", tmp_path / "requests.yml"
    fleet_file.write_text("hosts:\n- name: c1\n  vcpus: 4\n- {name: c2, memory_mib_total: .nan}\n")
    requests.write_text("requests: []\n")
    told = berth(None, "simulate", str(fleet_file), str(requests), code=2).stderr
    assert "fleet.yml:3: hosts[0].vcpus: unknown key 'vcpus'" in told
    assert "fleet.yml:4: hosts[1].memory_mib_total: found '.nan', allowed: a whole number" in told
    fleet_file.write_text("hosts:\n- {name: c1, guests: [{uuid: u-old, name: old}]}\n")
    requests.write_text(
        "requests:\n- {name: old, vcpus: 1, memory_mib: 1}\n"
        "- {name: a, vcpus: 1, memory_mib: 1,\n   hints: {different_host: odl}}\n"
    )
    told = berth(None, "simulate", str(fleet_file), str(requests), code=2).stderr
    assert "requests.yml:2: requests[0]: guest old is in the fleet, on c1" in told
    assert "requests.yml:4: requests[1].hints.different_host: no guest 'odl'" in told and "did you mean old?" in told
    assert "cannot be read" in berth(None, "simulate", str(tmp_path / "x"), str(requests), code=2).stderr
    assert "two files" in berth(None, "simulate", code=2).stderr


def test_place_explains_host_by_host(fleet: Cloud) -> None:
    told = berth(fleet, *WEB, "--explain", "--availability-zone", "east").stdout
    assert "h3: AvailabilityZoneFilter: " in told and "h1: 1. " in told
    assert "RAMWeigher 1 x " in told and "guest web: host " in told
    report = data(fleet, *WEB, "--explain")["reports"][0]
    share = report["weighed"][0]["weighers"][0]
    assert share.keys() == {"weigher", "raw", "normalised", "multiplier", "score"}


def test_place_with_a_seed_answers_the_same(fleet: Cloud) -> None:
    (fleet.catalog_path / "placement.yml").write_text("profiles: {default: {scheduler: chance}}\n")

    def answer(seed: str) -> list[Any]:
        found = data(fleet, *WEB, "--count", "8", "--seed", seed)["placements"]
        return [(one["host"], one["alternates"]) for one in found]

    assert answer("7") == answer("7") != answer("8")


def test_place_says_which_guest_of_a_batch_fails_and_the_nearest_miss(fleet: Cloud) -> None:
    failed = berth(fleet, *WEB, "--group", "g", "--count", "3", code=5).stderr
    assert "guest web-3: none of 4 hosts can take it" in failed
    assert "it is number 3 of 3 and none was placed" in failed
    assert failed.count("ServerGroupAntiAffinityFilter: ") == 4
    (fleet.catalog_path / "flavors.yml").write_text(
        "flavors: [{name: small, vcpus: 1, memory_mib: 6000, disk_gib: 2}]\n"
    )
    done = berth(fleet, *WEB, "--format", "json", code=5)
    error = json.loads(done.stderr)
    assert error["hint"].startswith("would fit with ") or "no host is large enough" in error["hint"]
    (reason,) = error["data"]["report"]["refused"][0]["reasons"]
    assert (reason["need"], reason["unit"]) == (6000, "MiB") and reason["have"] < 6000


def test_options_become_hints_and_all_their_mistakes_are_told(fleet: Cloud) -> None:
    one = data(fleet, *WEB, "--different-host", "spread-1", "--different-host", "spread-2", "--ignore-host", "h1")
    with Ledger.open(fleet.ledger_url) as ledger:
        homes = {row.host for row in ledger.guests(project="default")}
    assert one["placements"][0]["host"] not in homes | {"h1"}
    assert data(fleet, *WEB, "--same-host", "spread-1")["placements"][0]["host"] in homes
    assert data(fleet, *WEB, "--force-host", "h3")["placements"][0]["host"] == "h3"
    assert data(fleet, *WEB, "--force-node", "h3")["placements"][0]["host"] == "h3"
    told = berth(fleet, *WEB, "--build-near-host-ip", "x", "--query", "[", "--policy", "near", code=2).stderr
    assert all(part in told for part in ("hints.build_near_host_ip", "hints.query", "group.policy", "group.name"))


def test_capacity_counts_by_flavor_zone_aggregate_and_survival(fleet: Cloud) -> None:
    found = data(fleet, "capacity", "--flavor", "small")
    (flavor,) = found["flavors"]
    assert flavor["total"] == sum(flavor["by_host"].values()) == sum(flavor["by_zone"].values()) > 0
    assert flavor["by_aggregate"]["fast"] == flavor["by_host"]["h1"] + flavor["by_host"]["h3"]
    assert {row["host"]: row["guests"] - row["restarted"] for row in found["survival"]} == dict.fromkeys(
        ("h1", "h2", "h3", "h4"), 0
    )
    shown = berth(fleet, "capacity", "--flavor", "small").stdout
    assert f"small: {flavor['total']} more" in shown and "█" in shown and "host h1" in shown
    assert "host h1 " not in berth(fleet, "capacity").stdout
    assert "did you mean small?" in berth(fleet, "capacity", "--flavor", "smal", code=3).stderr


def test_a_terminal_gets_a_picture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from berth.cli.capacity import MOST_BARS, _draw
    from berth.placement import FlavorCapacity, Stranded

    hosts = {f"h{n:03}": n for n in range(MOST_BARS + 5)}
    left = (Stranded("memory", 2, 9, 0, 100),)
    flavor = FlavorCapacity("m1.[bold]", 595, hosts, {"east": 595}, {}, left)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _draw(flavor, hosts=True)
    shown = capsys.readouterr().out
    assert "m1.[bold]: 595 more" in shown and "█" * 20 in shown and "and 5 more" in shown
    assert "h000" in shown and "h034" not in shown and "memory runs out first on 2 hosts" in shown


def test_rebalance_plans_and_moves_nothing(fleet: Cloud) -> None:
    for n in range(6):
        booted(fleet, asked(f"heavy-{n}x", hints={"destination": "h1"}))
    plan = data(fleet, "rebalance", "--most-moves", "3")
    assert plan["imbalance_after"] < plan["imbalance_before"] and 1 <= len(plan["moves"]) <= 3
    assert plan["moves"][0]["source"] == "h1" and "standard deviation" in plan["metric"]
    with Ledger.open(fleet.ledger_url) as ledger:
        assert all(row.host == "h1" for row in ledger.guests() if row.name.startswith("heavy"))
        ledger.lock_guests([row.uuid for row in ledger.guests()], by="me", reason="test")
    assert data(fleet, "rebalance")["moves"] == []
    assert data(fleet, "rebalance", "--least-gain", "1000")["moves"] == []
    assert "imbalance" in berth(fleet, "rebalance").stderr


def test_a_fleet_without_hosts_is_an_answer(cloud: Cloud, tmp_path: Path) -> None:
    (cloud.path / "ledger.sqlite").unlink()
    assert data(cloud, "capacity")["flavors"][0]["total"] == 0
    assert data(cloud, "rebalance")["moves"] == []
    assert data(cloud, "host", "export")["hosts"] == []
    assert "there are no hosts" in berth(cloud, *WEB, code=5).stderr
