# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of extra specs: what Berth reads, what only Nova has, and what neither knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.spec.extra_specs import READ, allowed_instead

DOCS = Path(__file__).parents[3] / "docs/placement.md"

HOLD = (
    "hw:cpu_policy",
    "hw:numa_cpus.0",
    "hw:numa_mem.11",
    "hw:mem_page_size",
    "hw:maxphysaddr_bits",
    "hw:pci_numa_affinity_policy",
    "resources:VCPU",
    "resources:PCPU",
    "pci_passthrough:alias",
    "trait:HW_CPU_X86_AVX",
    "capabilities:cpu_info:arch",
    "aggregate_instance_extra_specs:ssd",
    "vcpus_total",
    "hide_hypervisor_id",
    "rack_spread:width",
)

REFUSED = {
    "hw:cpu_polcy": "did you mean hw:cpu_policy?",
    "hw:mem_pagesize": "did you mean hw:mem_page_size?",
    "hw:numa_cpu.1": "did you mean hw:numa_cpus.N?",
    "hw:numa_cpus": "did you mean hw:numa_cpus.N?",
    "hw:numa_cpus.01": "did you mean hw:numa_cpus.N?",
    "hw:": "known: hw:cpu_dedicated_mask, ",
    "pci_passthrough:alais": "did you mean pci_passthrough:alias?",
    "resources:VCPUS": "did you mean resources:VCPU?",
    "resources:vcpu": "did you mean resources:VCPU?",
    "resources:VGPU": "Nova knows resources:VGPU, Berth does not implement it",
    "resources:CUSTOM_FPGA": "Nova knows resources:CUSTOM_FPGA, Berth does not implement it",
    "hw:watchdog_action": "Nova knows hw:watchdog_action, Berth does not implement it",
    "quota:cpu_shares": "Nova knows quota:cpu_shares, Berth does not implement it",
    "hw_rng:allowed": "Berth does not implement it",
    "resources1:VCPU": "Nova knows groups such as resources1, Berth does not implement them",
    "trait_GROUP:HW_X": "Nova knows groups such as trait_GROUP",
    "resource:VCPU": "did you mean resources:VCPU?",
    "HW:cpu_policy": "did you mean hw:cpu_policy?",
    "pci_passthru:alias": "did you mean pci_passthrough:alias?",
}


@pytest.mark.parametrize("key", HOLD)
def test_keys_that_hold(key: str) -> None:
    assert allowed_instead(key) is None


@pytest.mark.parametrize(("key", "text"), REFUSED.items())
def test_keys_that_nothing_reads(key: str, text: str) -> None:
    assert text in (allowed_instead(key) or "")


def test_every_key_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [
        f"{scope}:{name}" for scope, names in READ.items() for name in names if f"`{scope}:{name}`" not in text
    ] == []
