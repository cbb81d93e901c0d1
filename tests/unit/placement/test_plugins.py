# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and weighers that are not Berth's own: what they may read, and what is told when they are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from berth.errors import InvalidInput
from berth.placement import (
    Code,
    Filter,
    GuestRequest,
    Host,
    HostFilter,
    HostWeigher,
    Profile,
    Reason,
    Weigher,
    build_fleet,
    place,
)
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


class Odd(Filter):
    """A filter over columns that returns `found`, or raises it."""

    found: object = None

    def passes(self, view, request, rows):
        return self._given("passes")

    def problems(self, request):
        return self._given("problems")

    def reasons(self, view, request, row):
        return self._given("reasons")

    def _given(self, call):
        usual = {"passes": np.zeros(3, dtype=bool), "problems": (), "reasons": (Reason(Code.PLUGIN, "odd"),)}
        found = {**usual, **self.found}[call]
        if isinstance(found, Exception):
            raise found
        return found


FILTER_MISTAKES = {
    "raises": ({"passes": KeyError("rack")}, r"passes\(\) for guest w-3 raised KeyError: 'rack' at .*test_plugins.py:"),
    "true": (
        {"passes": True},
        "returned True, allowed: None, or a NumPy array of booleans, one for each of the 3 rows",
    ),
    "too short": ({"passes": np.ones(2, dtype=bool)}, r"returned an array of bool with shape \(2,\), allowed"),
    "numbers": ({"passes": np.ones(3)}, "returned an array of float64"),
    "a list": ({"passes": [True, True, True]}, "returned a list, allowed"),
    "problems raise": ({"problems": ValueError("x")}, r"problems\(\) for guest w-3 raised ValueError: x"),
    "problems of text": ({"problems": "wrong"}, "returned 'wrong', allowed: a tuple of texts"),
    "reasons raise": ({"reasons": IndexError("y")}, r"reasons\(\) for guest w-3 raised IndexError: y"),
    "no reasons": ({"reasons": None}, "returned None, allowed: a tuple of Reasons"),
    "reasons of text": ({"reasons": ("no",)}, "returned a tuple, allowed: a tuple of Reasons"),
}


@pytest.mark.parametrize(("found", "text"), FILTER_MISTAKES.values(), ids=FILTER_MISTAKES)
def test_what_a_filter_does_wrong_is_told_with_its_name(found, text):
    profile = with_plugin(type("Odd", (Odd,), {"found": found}))
    with pytest.raises(InvalidInput, match="plug-in filter Odd: .*" + text) as caught:
        place(build_fleet(HOSTS), [replace(GUESTS[0], extra_specs={"a": "b"})], profile, now_s=0.0).error()
    assert "leave it out of the profile" in caught.value.hint


def broken(base, call, found):
    """Returns a plug-in of which one call returns or raises `found`."""

    def one(self, *given):
        if isinstance(found, Exception):
            raise found
        return found

    return type("Broken", (base,), {call: one, "multiplier_option": "broken_weight_multiplier"})


CALL_MISTAKES = {
    "host_passes raises": (HostFilter, "host_passes", ValueError("v"), "host c1 and guest w-3 raised ValueError: v"),
    "host_passes is true": (HostFilter, "host_passes", True, "host c1 and guest w-3 returned True, allowed: None for"),
    "concerns raises": (NumberedHosts, "concerns", TypeError("t"), "guest w-3 raised TypeError: t"),
    "reads_for raises": (NumberedHosts, "reads_for", TypeError("t"), "guest w-3 raised TypeError: t"),
    "cannot be made": (NumberedHosts, "__init__", KeyError("option"), "raised KeyError: 'option'"),
    "raw raises": (Weigher, "raw", ValueError("v"), "guest w-3 raised ValueError: v"),
    "raw is a number": (Weigher, "raw", 1.0, "returned 1.0, allowed: None, or a NumPy array of numbers"),
    "raw is too long": (Weigher, "raw", np.ones(4), r"an array of float64 with shape \(4,\)"),
    "raw is text": (Weigher, "raw", np.array(["1", "2", "3"]), "an array of <U1"),
    "weigh_host raises": (HostWeigher, "weigh_host", ValueError("v"), "host c1 and guest w-3 raised ValueError: v"),
    "weigh_host is none": (HostWeigher, "weigh_host", None, "host c1 and guest w-3 returned None, allowed: a number"),
    "weigh_host is text": (HostWeigher, "weigh_host", "5", "returned '5', allowed: a number"),
}


@pytest.mark.parametrize(("base", "call", "found", "text"), CALL_MISTAKES.values(), ids=CALL_MISTAKES)
def test_what_a_call_does_wrong_is_told_with_its_name(base, call, found, text):
    with pytest.raises(InvalidInput, match=rf"plug-in \w+ Broken: {call}\(\).*{text}"):
        place(build_fleet(HOSTS), GUESTS, with_plugin(broken(base, call, found)), now_s=0.0)


class Unfinished(HostFilter):
    """Has no host_passes()."""


class Unnamed(HostWeigher):
    """Has no multiplier_option."""

    def weigh_host(self, host, request):
        return 1.0


def test_what_a_class_lacks_is_told_when_it_is_registered():
    with pytest.raises(InvalidInput) as caught:
        BUILT_IN.extended([Unfinished, Unnamed])
    told = " ".join(caught.value.details)
    assert "plug-in Unfinished: has no host_passes()" in told
    assert "plug-in Unnamed: multiplier_option: found None, allowed: the name" in told


def test_a_plug_in_s_own_error_stays_what_it_is():
    mistake = InvalidInput("no rack of host c1", hint="set it")
    with pytest.raises(InvalidInput) as caught:
        place(build_fleet(HOSTS), GUESTS, with_plugin(broken(HostFilter, "host_passes", mistake)), now_s=0.0)
    assert caught.value is mistake


def test_a_registered_plug_in_is_the_class_that_was_given():
    kind = BUILT_IN.extended([NumberedHosts]).filters["NumberedHosts"]
    assert issubclass(kind, NumberedHosts) and kind.__qualname__ == "NumberedHosts"
    assert kind.__module__ == NumberedHosts.__module__ and kind(Profile().options).name == "NumberedHosts"


class Falling(Weigher):
    """Whole numbers at the start, halves later."""

    multiplier_option = "falling_weight_multiplier"

    def raw(self, view, request, rows):
        if not view.log:
            return np.array([3, 5, 1])[rows]
        return (np.array([3, 5, 1]) - 2.5 * view.usage.num_guests)[rows]


def test_a_weigher_may_count_in_whole_numbers():
    decision = place(build_fleet(HOSTS), GUESTS, with_plugin(Falling), now_s=0.0)
    assert [placement.host for placement in decision.placements] == ["c2", "c1", "c2"]
