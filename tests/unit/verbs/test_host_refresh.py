# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refresh learns, from the results of its tasks and the view of the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud, Settings
from berth.errors import InvalidInput, NotFound
from berth.ledger.store import Ledger
from berth.verbs.call import Call, phase_of
from berth.verbs.host_refresh import (
    RESULT,
    aggregates_from_inventory,
    check_inventory,
    clock_offset_s,
    hosts_from_results,
    inventory_digest,
)
from berth.verbs.placing import read_fleet


def view(*names: str, **groups: dict[str, Any]) -> dict[str, Any]:
    """Returns an inventory view; each group is given as hosts, vars and ancestors."""
    made = {name: {"hosts": [], "ancestors": ["all"], "vars": {}, **group} for name, group in groups.items()}
    return {
        "compute": list(names),
        "hosts": {
            name: {
                "groups": ["compute", *(group for group, data in made.items() if name in data["hosts"])],
                "own": [],
                "variables": {"berth_libvirt_uri": "qemu:///system"},
                "access": {"ansible_host": f"10.0.0.{index}"},
            }
            for index, name in enumerate(names, start=1)
        },
        "groups": {"compute": {"hosts": list(names), "ancestors": ["all"], "vars": {}}, **made},
        "problems": [],
    }


FACTS = {"machine_id": "m1", "virtualization": {"domain_type": "qemu"}, "domains": []}
ANSWERED = {RESULT: {"host": FACTS, "changed": False}}
SILENT = {RESULT: {"unreachable": True, "msg": "ssh: connect to host h2\nport 22: No route to host"}}
FAILED = {RESULT: {"failed": False, "msg": "cannot connect to libvirt"}}
CRASHED = {RESULT: {"msg": "MODULE FAILURE", "module_stderr": "/bin/sh: 1: python3: not found\n"}}


def test_each_asked_host_has_facts_or_a_message() -> None:
    results = {"h1": ANSWERED, "h2": SILENT, "h3": FAILED, "h4": CRASHED, "h5": {}}
    updates = {update.name: update for update in hosts_from_results(results, view("h1", "h2", "h3", "h4", "h5"))}
    assert {name for name, update in updates.items() if update.asked} == {"h1", "h2", "h3", "h4"}
    assert updates["h5"].groups == ("compute",) and updates["h5"].unreachable_message is None
    assert updates["h1"].facts == FACTS and updates["h1"].unreachable_message is None
    assert updates["h1"].groups == ("compute",) and updates["h1"].access == {"ansible_host": "10.0.0.1"}
    told = (update for update in updates.values() if update.asked and update.facts is None)
    messages = {update.name: update.unreachable_message for update in told}
    assert messages == {
        "h2": "ssh: connect to host h2 port 22: No route to host",
        "h3": "cannot connect to libvirt",
        "h4": "MODULE FAILURE /bin/sh: 1: python3: not found",
    }


def test_aggregates_keep_their_own_values_for_one_key() -> None:
    inventory = view(
        "h1",
        fast={"hosts": ["h1"], "vars": {"berth_aggregate": {"disk": "ssd"}}},
        slow={"hosts": ["h1"], "vars": {"berth_aggregate": {"disk": "hdd"}}},
        empty={"hosts": [], "vars": {"berth_aggregate": None}},
        plain={"hosts": ["h1"]},
    )
    assert aggregates_from_inventory(inventory) == {"fast": {"disk": "ssd"}, "slow": {"disk": "hdd"}, "empty": {}}


def test_every_mistake_of_the_inventory_is_told_at_once() -> None:
    inventory = view(
        "h1",
        "h2",
        a={"hosts": ["h1", "h2"], "vars": {"berth_aggregate": ["ssd"], "berth_availability_zone": "a"}},
        b={"hosts": ["h1"], "vars": {"berth_aggregate": {"key": {"deep": 1}}, "berth_availability_zone": "b"}},
    )
    inventory["problems"] = ["host h2: berth_x: 'y' is undefined"]
    with pytest.raises(InvalidInput) as caught:
        check_inventory(inventory, [])
    text = "\n".join(caught.value.details)
    assert len(caught.value.details) == 4
    for part in (
        "group a: berth_aggregate: found ['ssd']",
        "berth_aggregate.key",
        "host h1",
        "a by group a, b by group b",
    ):
        assert part in text
    assert "host h2: berth_availability_zone" not in text


@pytest.mark.parametrize(
    "inventory",
    [
        pytest.param(
            view(
                "h1",
                dc={"hosts": ["h1"], "vars": {"berth_availability_zone": "dc"}},
                rack={
                    "hosts": ["h1"],
                    "vars": {"berth_availability_zone": "rack"},
                    "ancestors": ["all", "dc"],
                },
            ),
            id="a-child-group-overrides",
        ),
        pytest.param(
            view("h1", **{g: {"hosts": ["h1"], "vars": {"berth_availability_zone": "z"}} for g in ("a", "b")}),
            id="two-groups-agree",
        ),
    ],
)
def test_zones_that_do_not_conflict(inventory: dict[str, Any]) -> None:
    check_inventory(inventory, [])


def test_a_host_that_names_its_zone_itself_has_it() -> None:
    inventory = view("h1", **{g: {"hosts": ["h1"], "vars": {"berth_availability_zone": g}} for g in ("a", "b")})
    with pytest.raises(InvalidInput):
        check_inventory(inventory, [])
    inventory["hosts"]["h1"]["own"] = ["berth_availability_zone"]
    check_inventory(inventory, [])


def test_unknown_hosts_are_all_named() -> None:
    inventory = view("node1", "node2", rack={"hosts": ["node1"]})
    check_inventory(inventory, ["node1", "rack", "node*", "compute"])
    with pytest.raises(NotFound) as caught:
        check_inventory(inventory, ["node1", "nod2", "zebra"])
    assert caught.value.details == ("no compute host 'nod2'; did you mean 'node2'?", "no compute host 'zebra'")


def test_the_digest_sees_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text("compute: {}")
    seen = [inventory_digest(tmp_path)]
    for change in (
        lambda: (tmp_path / "hosts.yml").write_text("compute: []"),
        lambda: (tmp_path / "group_vars" / "compute.yml").write_text("a: 1"),
        lambda: (tmp_path / "hosts.yml").rename(tmp_path / "other.yml"),
    ):
        change()
        seen.append(inventory_digest(tmp_path))
    assert len(set(seen)) == 4
    (tmp_path / ".hosts.yml.swp").write_text("x")
    (tmp_path / "other.yml~").write_text("x")
    assert inventory_digest(tmp_path) == seen[-1]
    assert inventory_digest(tmp_path / "other.yml") != seen[-1]


@pytest.mark.parametrize(
    ("host_time", "expected"),
    [(100.0, 0.0), (101.5, 0.0), (103.0, 0.0), (104.0, 1.0), (99.0, -1.0), (50.0, -50.0)],
)
def test_a_slow_way_is_no_wrong_clock(host_time: float, expected: float) -> None:
    assert clock_offset_s(host_time, 100.0, 103.0) == expected


def call(folder: Path, results: dict[str, Any], inventory: dict[str, Any], **more: Any) -> Call:
    (folder / "inventory").mkdir(exist_ok=True)
    return Call(cloud=Cloud(folder, Settings()), results=results, inventory=inventory, now_s=1000.0, **more)


def test_finish_stores_what_was_learnt(tmp_path: Path) -> None:
    finish = phase_of("host_refresh", "finish")
    inventory = view("h1", "h2", fast={"hosts": ["h1"], "vars": {"berth_aggregate": {"disk": "ssd"}}})
    outcome = finish(call(tmp_path, {"h1": ANSWERED, "h2": SILENT}, inventory))
    assert [(row["name"], row["status"], row["domain_type"]) for row in outcome["refreshed"]] == [
        ("h1", "ok", "qemu"),
        ("h2", "unreachable", None),
    ]
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        assert ledger.host("h1").facts == FACTS and ledger.host("h1").facts_at == 1000.0
        assert "No route" in (ledger.host("h2").unreachable_message or "")
        assert ledger.aggregates() == {"fast": {"disk": "ssd"}}
        assert ledger.inventory_digest() == inventory_digest(tmp_path / "inventory")


def test_a_limited_refresh_does_not_drop_the_other_hosts(tmp_path: Path) -> None:
    finish = phase_of("host_refresh", "finish")
    finish(call(tmp_path, {"h1": ANSWERED, "h2": ANSWERED}, view("h1", "h2")))
    finish(call(tmp_path, {"h1": ANSWERED}, view("h1", "h2")))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        assert [host.in_inventory for host in ledger.hosts()] == [True, True]
    finish(call(tmp_path, {"h1": ANSWERED}, view("h1")))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        assert [host.in_inventory for host in ledger.hosts()] == [True, False]


def test_a_limited_refresh_learns_the_inventory_of_all_hosts(tmp_path: Path) -> None:
    finish = phase_of("host_refresh", "finish")
    finish(call(tmp_path, {"h1": ANSWERED, "h2": ANSWERED}, view("h1", "h2")))
    changed = view("h1", "h2", "h3", fast={"hosts": ["h2"], "vars": {"berth_aggregate": {"disk": "ssd"}}})
    changed["hosts"]["h2"]["variables"] = {"berth_availability_zone": "b"}
    changed["hosts"]["h2"]["access"] = {"ansible_host": "10.0.0.99"}
    outcome = finish(call(tmp_path, {"h1": ANSWERED}, changed))
    assert [row["name"] for row in outcome["refreshed"]] == ["h1"]
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        h2, h3 = ledger.host("h2"), ledger.host("h3")
        assert (h2.groups, h2.variables) == (("compute", "fast"), {"berth_availability_zone": "b"})
        assert h2.access == {"ansible_host": "10.0.0.99"}
        assert (h2.facts, h2.facts_at, h2.unreachable_message) == (FACTS, 1000.0, None)
        assert (h3.facts, h3.unreachable_message, h3.in_inventory) == (None, None, True)
        assert (h3.groups, h3.usable) == (("compute",), False)
        generations = {host.name: host.generation for host in ledger.hosts()}
    finish(call(tmp_path, {"h1": ANSWERED}, changed))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        again = {host.name: host.generation for host in ledger.hosts()}
    # Claims on hosts of which nothing new was learnt still hold.
    assert again == {**generations, "h1": generations["h1"] + 1}


def test_a_limited_refresh_leaves_the_power_of_guests_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr("berth.verbs.observe.record_power", lambda _ledger, hosts, **_more: looked.extend(hosts) or [])
    finish = phase_of("host_refresh", "finish")
    finish(call(tmp_path, {"h1": ANSWERED, "h2": ANSWERED}, view("h1", "h2")))
    looked.clear()
    finish(call(tmp_path, {"h1": ANSWERED}, view("h1", "h2")))
    assert [host.name for host in looked] == ["h1"]


def test_a_bad_variable_is_told_and_refuses_its_host_alone(tmp_path: Path) -> None:
    inventory = view("h1", "h2", "h3")
    inventory["hosts"]["h1"]["variables"] = {"berth_cpu_allocation_ratio": "many", "berth_reserved_host_cpus": -1}
    made = call(tmp_path, {"h2": ANSWERED, "h3": ANSWERED}, inventory)
    (row,) = phase_of("host_refresh", "finish")(made)["guests"]
    assert (row["kind"], row["host"], row["guest"]) == ("variables", "h1", None)
    for part in ("berth_cpu_allocation_ratio: found 'many', allowed: ", "berth_reserved_host_cpus: found -1"):
        assert part in row["found"]
    assert "berth host refresh h1" in row["fix"]
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        problems = {host.name: host.facts_problem for host in read_fleet(ledger, made.cloud).hosts}
    assert "found 'many'" in problems["h1"] and "found 'many'" not in problems["h2"]


def test_check_mode_stores_nothing(tmp_path: Path) -> None:
    outcome = phase_of("host_refresh", "finish")(call(tmp_path, {"h1": ANSWERED}, view("h1"), check_mode=True))
    assert outcome["refreshed"] and not (tmp_path / "ledger.sqlite").exists()
