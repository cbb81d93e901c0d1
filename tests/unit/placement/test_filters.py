# SPDX-License-Identifier: GPL-3.0-or-later
"""Every filter against its table of cases: cases/filters/<file of the filter>.yml. A case needs no code."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from berth.errors import InvalidInput
from berth.placement import filters
from berth.placement.attributes import NAMES
from berth.placement.engine import place
from berth.placement.fleet import ALL, build_fleet
from berth.placement.fleet_document import read_fleet
from berth.placement.model import GuestRequest, Policy, ServerGroup
from berth.placement.operators import OPERATORS
from berth.placement.profile import Profile
from berth.placement.profiles import parse_profiles
from berth.placement.registry import FILTERS, FIRST, LAST
from berth.placement.view import View, one_row

CASES = Path(__file__).parent / "cases" / "filters"
DOCS = Path(__file__).parents[3] / "docs" / "placement.md"
KINDS = {kind.__name__: kind for kind in (*FIRST, *FILTERS, *LAST)}
TUPLES = ("ignore_hosts", "tried_hosts")


def _tables():
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*.yml"))}


def _all_cases():
    for stem, table in _tables().items():
        for case in table["cases"]:
            yield pytest.param(table, case, id=f"{stem}: {case['name']}")


def host_of(raw):
    raw = {"name": "h", "vcpus_total": 16, "memory_mib_total": 65536, "disk_mib_total": 102400, "facts_at": 0, **raw}
    inline = raw.pop("aggregates", [])
    document = {
        "hosts": [{**raw, "aggregates": [aggregate["name"] for aggregate in inline]}],
        "aggregates": {aggregate["name"]: aggregate["metadata"] for aggregate in inline},
    }
    return read_fleet(document).hosts[0]


def request_of(raw):
    raw = {"uuid": "new", "name": "new", "vcpus": 1, "memory_mib": 512, **raw}
    if "group" in raw:
        raw["group"] = ServerGroup(**{**raw["group"], "policy": Policy(raw["group"]["policy"])})
    return GuestRequest(**{key: tuple(value) if key in TUPLES else value for key, value in raw.items()})


def filter_of(table, case):
    options = {**table.get("options", {}), **case.get("options", {})}
    profile = parse_profiles({"profiles": {"default": {"options": options}}}).choose()
    return KINDS[table["filter"]](profile.options)


@pytest.mark.parametrize(("table", "case"), list(_all_cases()))
def test_case(table, case):
    rule, request = filter_of(table, case), request_of(case["request"])
    # Neighbours on both sides: a verdict must be about the row that was asked for.
    names = ("0", case["host"].get("name", "h"), "z")
    hosts = [host_of({**case["host"], "name": names[1]}), host_of({"name": "0"}), host_of({"name": "z"})]
    view = View(build_fleet(hosts), now_s=0.0)
    assert not rule.problems(request)

    whole, single = rule.passes(view, request, ALL), rule.passes(view, request, one_row(1))
    assert (whole is None) == (single is None)
    passes = True if whole is None else bool(whole[1])
    if whole is not None:
        assert whole.shape == (3,) and whole.dtype == bool and single.tolist() == [passes]
        assert rule.passes(view, request, np.array([0, 1])).tolist() == whole[:2].tolist()
    assert passes is case["passes"]

    if not passes:
        reasons = rule.reasons(view, request, 1)
        assert reasons, "a refusal without a reason"
        text = "; ".join(reason.text for reason in reasons)
        assert case.get("reason", "") in text
        for key in ("have", "need", "code"):
            if key in case:
                assert case[key] in [getattr(reason, key) for reason in reasons]


def test_every_filter_is_registered_and_has_a_table():
    files = {path.stem for path in Path(filters.__file__).parent.glob("*.py")} - {"__init__", "base"}
    registered = {kind.__module__.rpartition(".")[2] for kind in KINDS.values()}
    assert files == registered, "a file without a line in registry.py, or the other way round"
    tables = _tables()
    assert set(tables) == files
    for stem, table in tables.items():
        assert KINDS[table["filter"]].__module__.endswith(f".{stem}")
        verdicts = {case["passes"] for case in table["cases"]}
        assert verdicts == ({True} if table.get("never_refuses") else {True, False}), stem


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_docstring_says_what_passes_and_why_not(kind):
    assert kind.__doc__ and ("Passes" in kind.__doc__ or "Keeps" in kind.__doc__ or "Filter with" in kind.__doc__)
    if kind.__name__ != "AllHostsFilter" and "Filter with" not in kind.__doc__:
        assert "Reason" in kind.__doc__


MISTAKES = {
    "no operand": ({"extra_specs": {"vcpus_total": ">="}}, "needs exactly one word"),
    "words left over": ({"extra_specs": {"vcpus_total": ">= 4 5"}}, "found 2"),
    "no number": ({"extra_specs": {"capabilities:vcpus_total": ">= many"}}, "needs a number"),
    "no operator": ({"extra_specs": {"capabilities:vcpus_total": "< 4"}}, "`<` is not an operator"),
    "no space": ({"extra_specs": {"capabilities:vcpus_total": ">=4"}}, "`>=4` is not an operator"),
    "no space in text": ({"extra_specs": {"vcpus_total": "s==4"}}, "`s==4` is not an operator"),
    "unknown mark": ({"extra_specs": {"aggregate_instance_extra_specs:a": "<any> 4 8"}}, "`<any>` is not an operator"),
    "lone or": ({"extra_specs": {"capabilities:vcpus_total": "<or>"}}, "`<or>` needs"),
    "or without its mark": ({"extra_specs": {"capabilities:vcpus_total": "<or> 4 5"}}, "`<or>` needs"),
    "resource": ({"extra_specs": {"resources:VCPU": "-1"}}, "resources:VCPU: found '-1'"),
    "trait": ({"extra_specs": {"trait:X": "needed"}}, "allowed: required, forbidden"),
    "query json": ({"hints": {"query": "[oops"}}, "no JSON list"),
    "query operator": ({"hints": {"query": ["~", 1, 2]}}, "unknown operator '~'"),
    "query number": ({"hints": {"query": '[">=", "$free_ram_mb", 1' + 400 * "0" + "]"}}, "beyond 2**53 is no number"),
    "query number inside": ({"hints": {"query": ["not", ["=", "$host", -(10**400)]]}}, "beyond 2**53 is no number"),
    "query attribute": ({"hints": {"query": ["=", "$free_ram", 2]}}, "unknown attribute $free_ram"),
    "network": ({"hints": {"build_near_host_ip": "here"}}, "build_near_host_ip"),
    "hint": ({"hints": {"diferent_host": "u"}}, "unknown hint 'diferent_host'"),
    "version": ({"image_properties": {"img_hv_type": "kvm", "img_hv_requested_version": "6"}}, "no comparison"),
    "alias": ({"extra_specs": {"pci_passthrough:alias": "gpu:1"}}, "unknown alias 'gpu'"),
    "key": ({"extra_specs": {"hw:cpu_polcy": "dedicated"}}, "'hw:cpu_polcy'"),
    "class": ({"extra_specs": {"resources:VCPUS": "2"}}, "did you mean resources:VCPU?"),
    "only Nova's": ({"extra_specs": {"hw:watchdog_action": "reset"}}, "Berth does not implement it"),
    "nearness": ({"extra_specs": {"hw:pci_numa_affinity_policy": "neer"}}, "found 'neer', allowed: legacy, required"),
    "realtime": ({"extra_specs": {"hw:cpu_realtime": "yess"}}, "hw:cpu_realtime: found 'yess', allowed: yes, no"),
    "mask of nothing": ({"extra_specs": {"hw:cpu_realtime_mask": "^0"}}, "hw:cpu_realtime_mask needs hw:cpu_realtime"),
    "cells of nothing": ({"extra_specs": {"hw:numa_cpus.0": "0", "hw:numa_mem.0": "512"}}, "need hw:numa_nodes"),
    "no such cell": (
        {
            "vcpus": 2,
            "extra_specs": {"hw:numa_nodes": "2", "hw:numa_cpus.1": "0", "hw:numa_cpus.2": "1", "hw:numa_mem.0": "1"},
        },
        "hw:numa_cpus.2: there is no NUMA node 2, hw:numa_nodes is 2",
    ),
    "policy": ({"extra_specs": {"hw:cpu_policy": "pinned"}}, "allowed: shared, dedicated, mixed"),
    "page size": ({"extra_specs": {"hw:mem_page_size": "huge"}}, "mem_page_size: found 'huge'"),
    "cells": ({"vcpus": 3, "extra_specs": {"hw:numa_nodes": "2"}}, "do not divide by 2"),
    "half a list": ({"extra_specs": {"hw:numa_nodes": "1", "hw:numa_cpus.0": "0"}}, "must both be given"),
    "cpus twice": (
        {"vcpus": 2, "extra_specs": {"hw:numa_nodes": "1", "hw:numa_cpus.0": "0,0", "hw:numa_mem.0": "512"}},
        "each of the CPUs 0-1 once",
    ),
    "memory sum": (
        {"extra_specs": {"hw:numa_nodes": "1", "hw:numa_cpus.0": "0", "hw:numa_mem.0": "511"}},
        "add up to 511",
    ),
    "cell without CPUs": (
        {
            "extra_specs": {
                "hw:numa_nodes": "2",
                "hw:numa_cpus.0": "0",
                "hw:numa_cpus.1": "",
                "hw:numa_mem.0": "256",
                "hw:numa_mem.1": "256",
            }
        },
        "each NUMA node needs CPUs and memory",
    ),
    "image above flavor": (
        {"extra_specs": {"hw:cpu_policy": "shared"}, "image_properties": {"hw_cpu_policy": "dedicated"}},
        "more than the flavor",
    ),
}


def test_every_operator_and_attribute_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text and f"`{name}." not in text] == []
    assert [word for word in OPERATORS if f"`{word} " not in text] == []


def test_mistakes_of_cells_and_devices_are_told_together():
    raw = {"extra_specs": {"hw:cpu_policy": "pinned", "pci_passthrough:alias": "gpu:1"}}
    with pytest.raises(InvalidInput) as caught:
        place(build_fleet([host_of({})]), [request_of(raw)], Profile(), now_s=0)
    told = str(caught.value) + " ".join(caught.value.details)
    assert "found 'pinned'" in told and "unknown alias 'gpu'" in told


@pytest.mark.parametrize(("raw", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named_before_anything_is_decided(raw, text):
    with pytest.raises(InvalidInput) as caught:
        place(
            build_fleet([host_of({})]), [request_of(raw)], Profile(filters=tuple(k.__name__ for k in FILTERS)), now_s=0
        )
    assert text in str(caught.value) + " ".join(caught.value.details)
    assert "guest new" in str(caught.value)
