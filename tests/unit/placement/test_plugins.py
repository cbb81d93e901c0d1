# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and weighers that are not Berth's own: what they may read, and what is told when they are wrong."""

from dataclasses import replace

import pytest

from berth.placement import Code, GuestRequest, Host, HostFilter, HostWeigher, Profile, Reason, build_fleet, place
from berth.placement.engine import place_what_fits
from berth.placement.registry import BUILT_IN

HOSTS = [Host(f"c{n}", facts_at=0.0, vcpus_total=8, memory_mib_total=8704) for n in (1, 2, 3)]
GUESTS = [GuestRequest(uuid=f"u-{n}", name=f"w-{n}", vcpus=1, memory_mib=512) for n in (3, 1, 2)]


def with_plugin(*kinds):
    """Returns a profile that has the plug-ins and nothing else."""
    registry = BUILT_IN.extended(kinds)
    filters = tuple(kind.__name__ for kind in kinds if kind.__name__ in registry.filters)
    weighers = tuple(kind.__name__ for kind in kinds if kind.__name__ in registry.weighers)
    return Profile(filters=filters, weighers=weighers, registry=registry)


class NumberedHosts(HostFilter):
    def host_passes(self, host, request):
        return None if host.name[-1] == request.name[-1] else Reason(Code.PLUGIN, "another number")


class NumberedWeigher(HostWeigher):
    multiplier_option = "numbered_weight_multiplier"

    def weigh_host(self, host, request):
        return float(host.name[-1] == request.uuid[-1])


@pytest.mark.parametrize("kind", [NumberedHosts, NumberedWeigher])
def test_a_plug_in_that_reads_who_the_guest_is_decides_for_each_of_a_batch(kind):
    fleet, profile = build_fleet(HOSTS), with_plugin(kind)
    decision = place(fleet, GUESTS, profile, now_s=0.0)
    assert [placement.host for placement in decision.placements] == ["c3", "c1", "c2"]
    assert place_what_fits(fleet, GUESTS, profile, now_s=0.0) == ["c3", "c1", "c2"]
    for index, placement in enumerate(decision.placements):
        assert decision.explain(index).weighed[0].host == placement.host


def test_guests_that_differ_in_their_names_only_are_decided_together_without_plug_ins():
    assert not Profile().pipeline.has_plugins and with_plugin(NumberedHosts).pipeline.has_plugins
    assert replace(with_plugin(NumberedHosts), filters=()).pipeline.has_plugins is False
