# SPDX-License-Identifier: GPL-3.0-or-later
"""Our filters and weighers against the real ones of Nova 34 from PyPI, on random fleets from printed seeds.

Deviations that docs/placement.md lists are named here, one by one; anything else is a failure.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from berth.errors import InvalidInput
from berth.placement import GuestRequest, Options, Policy, Profile, ServerGroup, place
from berth.placement.fleet import ALL
from berth.placement.fleet_document import read_fleet
from berth.placement.pci import PciAlias
from berth.placement.registry import BUILT_IN
from berth.placement.scores import Scores
from berth.placement.view import View

HERE = Path(__file__).parent
FLEETS = int(os.environ.get("BERTH_NOVA_FLEETS", "2400"))
FIRST_SEED = int(os.environ.get("BERTH_NOVA_SEED", "34000"))
LEAST = 100 if FLEETS >= 2000 else 1

COMPARED = (
    "AllHostsFilter",
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "DifferentHostFilter",
    "SameHostFilter",
    "SimpleCIDRAffinityFilter",
    "JsonFilter",
    "IoOpsFilter",
    "AggregateIoOpsFilter",
    "NumInstancesFilter",
    "AggregateNumInstancesFilter",
    "AggregateInstanceExtraSpecsFilter",
    "AggregateImagePropertiesIsolation",
    "AggregateMultiTenancyIsolation",
    "AggregateTypeAffinityFilter",
    "IsolatedHostsFilter",
    "MetricsFilter",
    "NUMATopologyFilter",
    "PciPassthroughFilter",
)
BATCH = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "IoOpsFilter",
    "AggregateNumInstancesFilter",
)
WEIGHERS = tuple(BUILT_IN.weighers)


def _module(name):
    spec = importlib.util.spec_from_file_location(f"berth_peers_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def answers():
    """Returns (case, Nova's answer) for every seed."""
    python = _module("nova_venv").nova_python()
    make = _module("random_fleets").random_case
    cases = [make(seed) for seed in range(FIRST_SEED, FIRST_SEED + FLEETS)]
    print(f"seeds {FIRST_SEED} to {FIRST_SEED + FLEETS - 1}")
    names = {"filters": COMPARED, "batch_filters": BATCH, "weighers": WEIGHERS}
    text = "\n".join(json.dumps({**case, **names}) for case in cases) + "\n"
    command = [str(python), "-W", "ignore", str(HERE / "nova_peer.py")]
    run = subprocess.run(command, input=text, capture_output=True, text=True, timeout=1500, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == len(cases)
    return list(zip(cases, found, strict=True))


def fleet_of(case):
    hosts = [{k: v for k, v in host.items()} for host in case["fleet"]["hosts"]]
    return read_fleet({**case["fleet"], "hosts": hosts}).fleet


def request_of(case):
    raw = dict(case["request"])
    group = raw.pop("group")
    if group:
        group = ServerGroup(group["name"], Policy(group["policy"]), group["members"], group["max_server_per_host"])
    return GuestRequest(group=group, **raw)


def options_of(case):
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in case["options"].items()}
    aliases = {name: PciAlias(name, **alias) for name, alias in case["aliases"].items()}
    return Options(**given, metrics_required=False, pci_aliases=aliases)


def corrected(name, answer):
    """Returns Nova's verdicts, those on NUMA judged cell by cell: see nova_peer.fits_cell_by_cell."""
    theirs = answer["verdicts"][name]
    return answer["cell_by_cell"] if name == "NUMATopologyFilter" else theirs


def test_filters_agree(answers):
    passed, refused, differing = Counter(), Counter(), []
    for case, answer in answers:
        fleet, request, options = fleet_of(case), request_of(case), options_of(case)
        view = View(fleet, 0.0)
        for name in COMPARED:
            rule = BUILT_IN.filters[name](options)
            assert not rule.problems(request), (case["seed"], name, rule.problems(request))
            mask = rule.passes(view, request, ALL)
            ours = [True] * fleet.size if mask is None else mask.tolist()
            theirs = corrected(name, answer)
            for row, (mine, novas) in enumerate(zip(ours, theirs, strict=True)):
                if mine == novas:
                    (passed if mine else refused)[name] += 1
                else:
                    differing.append((case["seed"], name, fleet.names[row], mine, novas))
    assert not differing, f"{len(differing)} verdicts differ: {differing[:5]}"
    for name in COMPARED:
        print(f"{name}: {passed[name]} passed, {refused[name]} refused")
        assert passed[name] >= LEAST
        assert refused[name] >= LEAST or name == "AllHostsFilter"
    uncorrected = sum(
        verdict != corrected
        for _, answer in answers
        for verdict, corrected in zip(answer["verdicts"]["NUMATopologyFilter"], answer["cell_by_cell"], strict=True)
    )
    print(f"NUMATopologyFilter of Nova errs on {uncorrected} hosts")
    assert uncorrected <= len(answers) / 50, "that many are no slips of a cache"


def profile_of(case, **changes):
    return Profile(
        filters=BATCH, weighers=WEIGHERS, multipliers=case["multipliers"], options=options_of(case), **changes
    )


def test_weighers_agree(answers):
    decided = Counter()
    for case, answer in answers:
        fleet, request = fleet_of(case), request_of(case)
        for name in (*WEIGHERS, None):
            profile = profile_of(case)
            if name is not None:
                profile = replace(profile, weighers=(name,))
            scores = Scores(View(fleet, 0.0), request, None, profile.pipeline.weighers)
            theirs = answer["scores"]["together"] if name is None else answer["scores"]["each"][name]
            for row, total in zip(scores.rows, scores.total, strict=True):
                assert total == theirs[fleet.names[row]], (case["seed"], name, fleet.names[row])
            decided[name] += len(set(theirs.values())) > 1
    for name, count in decided.items():
        print(f"{name or 'all together'}: told hosts apart in {count} fleets")
        assert count >= LEAST or name == "CrossCellWeigher"


def test_batches_agree(answers):
    """Hosts in the order chosen, each guest seeing what those before it took; ties by name on both sides."""
    whole = partial = 0
    for case, answer in answers:
        wanted = request_of(case)
        if any(key.startswith(("hw:", "pci_passthrough")) for key in wanted.extra_specs):
            continue
        requests = [replace(wanted, uuid=f"new-{n}", name=f"new-{n}") for n in range(case["count"])]
        try:
            decision = place(fleet_of(case), requests, profile_of(case), now_s=0.0)
        except InvalidInput as error:
            raise AssertionError((case["seed"], error.details)) from error
        ours = [placement.host for placement in decision.placements]
        if decision.ok:
            whole += 1
            assert ours == answer["batch"], case["seed"]
        else:
            partial += 1
            assert len(answer["batch"]) == decision.failed_index, case["seed"]
    print(f"{whole} batches placed, {partial} refused")
    assert whole >= LEAST and partial >= LEAST
