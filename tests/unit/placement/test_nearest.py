# SPDX-License-Identifier: GPL-3.0-or-later
"""What would help: the ratio that a hint names does help."""

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from berth.placement import GuestRequest, Host, Profile, build_fleet, place

RATIO = re.compile(r"would fit on (\d+) hosts? \((.*)\) with (\w+) (\S+)")
PLENTY = {"vcpus_total": 2**20, "memory_mib_total": 2**30, "disk_mib_total": 2**30}
RESOURCES = {
    "vcpus": ("reserved_host_cpus", "cpu_allocation_ratio"),
    "memory_mib": ("reserved_host_memory_mib", "ram_allocation_ratio"),
}


def ratio_hint(hosts, request):
    """Returns how many hosts the hint speaks of, those it names, the option and the ratio."""
    decision = place(build_fleet(hosts), [request], Profile(), now_s=0.0)
    found = (RATIO.fullmatch(hint) for hint in decision.failure.report.hints)
    count, names, option, ratio = next(match.groups() for match in found if match)
    return int(count), names.split(", "), option, float(ratio)


def serves(host, request):
    return place(build_fleet([host]), [request], Profile(), now_s=0.0).ok


def test_a_ratio_that_is_rounded_down_to_too_little_is_not_named():
    host = Host("c1", facts_at=0.0, **{**PLENTY, "vcpus_total": 31}, reserved_host_cpus=1, vcpus_used=231)
    request = GuestRequest(uuid="u", name="u", vcpus=15, memory_mib=64)
    assert ratio_hint([host], request) == (1, ["c1"], "cpu_allocation_ratio", 8.3)
    assert not serves(replace(host, cpu_allocation_ratio=8.2), request)


@st.composite
def shortages(draw):
    """Hosts that lack one resource, and have it as a whole; the guest that asks for it; the resource."""
    what = draw(st.sampled_from(sorted(RESOURCES)))
    reserve, option = RESOURCES[what]
    need = draw(st.integers(1, 64))
    hosts = []
    for number in range(draw(st.integers(1, 4))):
        free, reserved = 5 * draw(st.integers(1, 40)), draw(st.integers(0, 20))
        total, ratio = max(need, free + reserved), draw(st.sampled_from([0.1, 0.7, 1.0, 1.1]))
        # Often up to the last one of a ratio in tenths, which is where rounding decides.
        last = free * 2 * draw(st.integers(1, 150)) // 10 - need + draw(st.sampled_from([0, 0, 0, 1]))
        used = max(0, int((total - reserved) * ratio) - need + 1, last)
        settings_of = {reserve: reserved, option: ratio, f"{what}_used": used}
        hosts.append(Host(f"c{number}", facts_at=0.0, **{**PLENTY, f"{what}_total": total, **settings_of}))
    request = GuestRequest(uuid="u", name="u", **{"vcpus": 1, "memory_mib": 1, what: need})
    return hosts, request, option


@settings(max_examples=300, deadline=None)
@given(shortages())
def test_the_ratio_that_is_named_does_help_and_is_the_least(case):
    hosts, request, option = case
    count, names, named_option, ratio = ratio_hint(hosts, request)
    assert named_option == option
    helped = [host.name for host in hosts if serves(replace(host, **{option: ratio}), request)]
    assert count == len(helped) and names == helped[:3] + ["..."] * (count > 3)
    assert ratio <= 0.2 or not any(serves(replace(host, **{option: ratio - 0.2}), request) for host in hosts)
