# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles from placement.yml: what they make, and every mistake in them."""

from dataclasses import replace

import pytest
import yaml

from berth.errors import InvalidInput, NotFound
from berth.placement import GuestRequest, Host, Profiles, build_fleet, parse_profiles, place, plugin_names
from berth.placement.pci import PciAlias
from berth.placement.profile import DEFAULT_FILTERS

GOOD = """
default: pack
projects: {lab: calm}
profiles:
  pack:
    extends: base
    filters: {add: [IoOpsFilter], remove: [RetryFilter]}
    multipliers: {ram_weight_multiplier: -1}
    host_subset_size: 3
    shuffle_best_same_weighed_hosts: true
  base:
    weighers: [RAMWeigher, CPUWeigher]
    multipliers: {cpu_weight_multiplier: 0.5}
    options: {max_io_ops_per_host: 4, isolated_hosts: [c1], metrics_weight_setting: {heat: -1}}
    plugins: [rack, local.py]
  calm:
    scheduler: chance
    max_attempts: 1
    options:
      pci_aliases:
        gpu: {vendor_id: "10DE", product_id: "1eb8", numa_policy: required}
        nic: {vendor_id: "8086", product_id: "10ed", kind: type-VF}
"""


def test_a_profile_extends_another():
    profiles = parse_profiles(yaml.safe_load(GOOD))
    pack, calm = profiles.choose(), profiles.choose(project="lab")
    assert pack.name == "pack" and pack.filters == (*(f for f in DEFAULT_FILTERS if f != "RetryFilter"), "IoOpsFilter")
    assert pack.weighers == ("RAMWeigher", "CPUWeigher")
    assert pack.multipliers == {"cpu_weight_multiplier": 0.5, "ram_weight_multiplier": -1.0}
    assert pack.options.max_io_ops_per_host == 4 and pack.options.isolated_hosts == ("c1",)
    assert pack.options.metrics_weight_setting == {"heat": -1.0}
    assert (pack.host_subset_size, pack.shuffle_best_same_weighed_hosts, pack.max_attempts) == (3, True, 3)
    assert (calm.scheduler, calm.max_attempts) == ("chance", 1)
    assert calm.options.pci_aliases == {
        "gpu": PciAlias("gpu", "10de", "1eb8", numa_policy="required"),
        "nic": PciAlias("nic", "8086", "10ed", kind="type-VF"),
    }
    assert profiles.choose(name="base", project="lab").name == "base"
    assert plugin_names(yaml.safe_load(GOOD)) == ("rack", "local.py")
    with pytest.raises(NotFound, match="did you mean base"):
        profiles.choose(name="bass")


@pytest.mark.parametrize("content", [None, {}, {"profiles": {"default": None}}])
def test_nothing_is_the_default(content):
    assert parse_profiles(content).choose() == Profiles().choose()


@pytest.mark.parametrize("filters", [["RetryFilter"], []])
def test_a_tried_host_is_never_taken_again(filters):
    hosts = [Host(name, facts_at=0.0, vcpus_total=4, memory_mib_total=8192, disk_mib_total=4096) for name in ("a", "b")]
    profile = parse_profiles({"profiles": {"default": {"filters": filters}}}).choose()
    assert [rule.name for rule in profile.pipeline.filters].count("RetryFilter") == 1
    guest = GuestRequest("u", "web", vcpus=1, memory_mib=64, tried_hosts=("a",))
    (placement,) = place(build_fleet(hosts), [guest], profile, now_s=0.0).placements
    assert (placement.host, placement.alternates) == ("b", ())
    for changes in ({"force_host": "a"}, {"tried_hosts": ("a", "b")}):
        failure = place(build_fleet(hosts), [replace(guest, **changes)], profile, now_s=0.0).failure
        assert failure.report.refused[0].filter == "RetryFilter"


def test_weighers_multipliers_reach_the_pipeline():
    pipeline = parse_profiles(yaml.safe_load(GOOD)).choose(name="pack").pipeline
    assert [(weigher.name, number) for weigher, number in pipeline.weighers] == [
        ("RAMWeigher", -1.0),
        ("CPUWeigher", 0.5),
    ]


MISTAKES = {
    "no map": ("[1]", "found list, allowed: a map"),
    "top key": ("defualt: x", "unknown key 'defualt'; did you mean default?"),
    "default": ("{default: x, profiles: {y: {}}}", "unknown profile 'x'; known: y"),
    "project": (
        "{projects: {lab: bass}, profiles: {base: {}}}",
        "projects.lab: unknown profile 'bass'; did you mean base?",
    ),
    "key": ("profiles: {a: {filter: []}}", "profiles.a.filter: unknown key 'filter'; did you mean filters?"),
    "extends": ("profiles: {a: {extends: b}}", "profiles.a.extends: unknown profile 'b'"),
    "circle": ("profiles: {a: {extends: b}, b: {extends: a}}", "in a circle"),
    "filter": ("profiles: {a: {filters: [RamFiltr]}}", "unknown name 'RamFiltr'; did you mean RamFilter?"),
    "old filter": ("profiles: {a: {filters: [TrustedFilter]}}", "unknown name 'TrustedFilter'"),
    "filter twice": ("profiles: {a: {filters: [RamFilter, RamFilter]}}", "RamFilter is named twice"),
    "filters text": ("profiles: {a: {filters: RamFilter}}", "allowed: a list of names, or a map"),
    "remove": ("profiles: {a: {filters: {remove: [RamFilter]}}}", "filters.remove.0: unknown name 'RamFilter'"),
    "weigher": ("profiles: {a: {weighers: [RAMWeiger]}}", "did you mean RAMWeigher?"),
    "multiplier": ("profiles: {a: {multipliers: {ram_wight_multiplier: 1}}}", "did you mean ram_weight_multiplier?"),
    "multiplier value": ("profiles: {a: {multipliers: {ram_weight_multiplier: .nan}}}", "allowed: a finite number"),
    "pci below zero": ("profiles: {a: {multipliers: {pci_weight_multiplier: -1}}}", "a finite number, 0 or more"),
    "option": ("profiles: {a: {options: {max_io_ops: 1}}}", "did you mean max_io_ops_per_host?"),
    "option type": ("profiles: {a: {options: {max_io_ops_per_host: true}}}", "found True, allowed: a whole number"),
    "option list": ("profiles: {a: {options: {isolated_hosts: c1}}}", "allowed: a list of names"),
    "option map": ("profiles: {a: {options: {metrics_weight_setting: {a: b}}}}", "a map of names to numbers"),
    "option bool": (
        "profiles: {a: {options: {restrict_isolated_hosts_to_isolated_images: 1}}}",
        "found 1, allowed: true, false",
    ),
    "alias": ("profiles: {a: {options: {pci_aliases: {gpu: {vendor_id: 10de}}}}}", "four hexadecimal digits"),
    "alias kind": (
        "profiles: {a: {options: {pci_aliases: {g: {vendor_id: 10de, product_id: 1eb8, kind: type-vf}}}}}",
        "pci_aliases.g.kind: unknown kind 'type-vf'; did you mean type-VF?",
    ),
    "age": (
        "profiles: {a: {options: {facts_max_age_s: -5}}}",
        "facts_max_age_s: found -5, allowed: a finite number above 0",
    ),
    "alias policy": (
        "profiles: {a: {options: {pci_aliases: {g: {vendor_id: 10de, product_id: 1eb8, numa_policy: near}}}}}",
        "unknown policy 'near'",
    ),
    "subset": ("profiles: {a: {host_subset_size: 0}}", "host_subset_size: found 0"),
    "shuffle": ("profiles: {a: {shuffle_best_same_weighed_hosts: maybe}}", "allowed: true, false"),
    "scheduler": ("profiles: {a: {scheduler: chanse}}", "unknown scheduler 'chanse'; did you mean chance?"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(text, message):
    with pytest.raises(InvalidInput) as caught:
        parse_profiles(yaml.safe_load(text))
    assert message in "\n".join((str(caught.value), *caught.value.details))


def test_a_mistake_in_what_others_extend_is_told_once():
    text = "profiles: {a: {extends: b}, c: {extends: b}, b: {host_subset_size: -1, typo: 1}}"
    with pytest.raises(InvalidInput) as caught:
        parse_profiles(yaml.safe_load(text), where=lambda path: f"placement.yml:7: {path[-1]}")
    assert len(caught.value.details) == 2
    assert caught.value.details[0].startswith("placement.yml:7: ")
