# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in extra specs are told with their line in flavors.yml, before anything is decided."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.cloud import Cloud
from berth.errors import InvalidInput
from berth.ledger import Ledger
from berth.verbs import boot
from berth.verbs.fleet_questions import capacity_now

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud, call = _FLOW["cloud"], _FLOW["call"]
REQUEST = {"name": "web", "flavor": "bad", "image": "tiny", "networks": ["lan"]}
SPECS = {"capabilities:vcpus_total": ">= abc", "hw:numa_nodes": "zero", "resources:VCPU": "two"}


@pytest.fixture
def with_bad(cloud: Cloud) -> Cloud:
    path = cloud.path / "catalog/flavors.yml"
    flavors: list[dict[str, Any]] = yaml.safe_load(path.read_text())["flavors"]
    flavors.append({"name": "bad", "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "extra_specs": SPECS})
    path.write_text(yaml.safe_dump({"flavors": flavors}, sort_keys=False))
    return cloud


def line_of(cloud: Cloud, text: str) -> int:
    lines = (cloud.path / "catalog/flavors.yml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_every_mistake_has_its_line(with_bad: Cloud) -> None:
    with pytest.raises(InvalidInput) as caught:
        boot.begin(call(with_bad, request=REQUEST))
    told = "\n".join((caught.value.message, *caught.value.details))
    for key in SPECS:
        assert f"flavors.yml:{line_of(with_bad, key)}: flavors[" in told
    assert caught.value.hint


@pytest.mark.parametrize("key", ["hw:cpu_polcy", "pci_passthrough:alais", "resources:VCPUS", "resources:VGPU"])
def test_a_key_that_nothing_reads_has_its_line(with_bad: Cloud, key: str) -> None:
    path = with_bad.catalog_path / "flavors.yml"
    path.write_text(path.read_text().replace("capabilities:vcpus_total", key))
    with pytest.raises(InvalidInput) as caught:
        boot.begin(call(with_bad, request=REQUEST))
    told = "\n".join((caught.value.message, *caught.value.details))
    assert f"flavors.yml:{line_of(with_bad, key)}: flavors[" in told and f"found the key '{key}'" in told
    assert "did you mean" in told or "Berth does not implement it" in told


def test_one_bad_flavor_hides_no_other_ones_capacity(with_bad: Cloud) -> None:
    with Ledger.open(with_bad.ledger_url) as ledger:
        found = capacity_now(ledger, with_bad, (), now_s=call(with_bad).now_s, project="default")
        assert "bad" not in {flavor.flavor for flavor in found.flavors} and found.flavors
        assert all(line.startswith("flavors.yml:") for line in found.left_out) and len(found.left_out) == len(SPECS)
        with pytest.raises(InvalidInput, match="flavors"):
            capacity_now(ledger, with_bad, ["bad"], now_s=call(with_bad).now_s, project="default")
