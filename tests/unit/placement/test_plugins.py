# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and weighers that are not Berth's own: what they may read, and what is told when they are wrong."""

from dataclasses import replace

import pytest

from berth.errors import InvalidInput
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


class Turning(HostWeigher):
    """No number once the host has a guest."""

    multiplier_option = "turning_weight_multiplier"
    first, then = {"c1": 0.0, "c2": 1.0, "c3": 2.0}, float("nan")

    def weigh_host(self, host, request):
        return self.then if host.guests else self.first[host.name]


class Second(HostWeigher):
    multiplier_option = "second_weight_multiplier"
    default_multiplier = 10.0

    def weigh_host(self, host, request):
        return float(host.name == "c2")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_becomes_no_number_is_told_with_its_host(number):
    kind = type("Turning", (Turning,), {"then": number})
    with pytest.raises(InvalidInput) as caught:
        place(build_fleet(HOSTS), GUESTS, with_plugin(kind, Second), now_s=0.0)
    assert f"weigher Turning: found {number} for host c2, allowed: finite numbers" in str(caught.value)


@pytest.mark.parametrize("changes", [{"first": {"c1": 0.5, "c2": float("nan"), "c3": 0.1}}, {}], ids=["start", "later"])
def test_bounds_of_a_weigher_hide_no_number_that_is_none(changes):
    kind = type("Turning", (Turning,), {"minval": -5.0, "maxval": 5.0, **changes})
    with pytest.raises(InvalidInput, match="weigher Turning: found nan for host c2"):
        place(build_fleet(HOSTS), GUESTS, with_plugin(kind, Second), now_s=0.0)


def test_finite_weights_that_lie_too_far_apart_are_told():
    kind = type("Turning", (Turning,), {"first": {"c1": -1.5e308, "c2": 1.5e308, "c3": 0.0}})
    with pytest.raises(InvalidInput, match=r"weigher Turning: found -1.5e\+308 to 1.5e\+308"):
        place(build_fleet(HOSTS), GUESTS, with_plugin(kind), now_s=0.0)
