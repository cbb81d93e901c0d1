# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from berth.ledger.claiming import ClaimRefused, refused_amounts, refused_hosts, refused_members
from berth.ledger.model import GroupPolicy
from berth.ledger.rows import Claim, GroupRow, Member, Resources, Usage

AMOUNTS = st.builds(Resources, st.integers(0, 4), st.integers(0, 40), st.integers(0, 40))
LIMITS = Resources(8, 80, 80)


@given(st.lists(st.tuples(st.sampled_from("ab"), AMOUNTS), max_size=8), st.builds(Usage, st.integers(0, 8)))
def test_claims_are_refused_exactly_when_a_total_passes_its_limit(
    wanted: list[tuple[str, Resources]], used: Usage
) -> None:
    claims = [Claim(str(index), host, amount, LIMITS) for index, (host, amount) in enumerate(wanted)]
    usage = {"a": used, "b": Usage()}
    refused = refused_amounts(usage, claims)
    fits = all(
        getattr(usage[host], name) + sum(getattr(amount, name) for place, amount in wanted if place == host)
        <= getattr(LIMITS, name)
        for host in "ab"
        for name in ("vcpus", "memory_mib", "disk_mib")
    )
    assert (not refused) == fits
    for item in refused:
        assert item["need"] > item["have"]  # type: ignore[operator]


def test_a_host_that_is_over_already_takes_what_needs_nothing_more_of_that() -> None:
    claim = Claim("g", "a", Resources(0, 10, 0), LIMITS)
    assert refused_amounts({"a": Usage(9, 0, 0, 1)}, [claim]) == []


def test_a_refusal_tells_numbers() -> None:
    error = ClaimRefused.of(refused_amounts({"a": Usage(1, 70, 0)}, [Claim("g", "a", Resources(1, 11, 0), LIMITS)]))
    assert error.message == "host a: memory_mib 11 MiB does not fit, 10 MiB of 80 MiB left"
    assert error.data["refused"][0] | {"message": ""} == {
        "guest_uuid": "g",
        "host": "a",
        "reason": "memory_mib",
        "message": "",
        "have": 10,
        "need": 11,
    }


def test_unknown_hosts_and_hosts_in_quarantine_are_refused() -> None:
    claims = [Claim("1", host, Resources(), LIMITS) for host in ("a", "b", "c")]
    refused = refused_hosts({"a": ("", 1), "b": ("machine id changed", 1)}, claims)
    assert [item["host"] for item in refused] == ["b", "c"]


def test_a_guest_does_not_stand_in_its_own_way() -> None:
    group = GroupRow("default", "g", GroupPolicy.ANTI_AFFINITY, 1, 0.0)
    held = {("default", "g"): [Member("1", "a"), Member("2", "b")]}
    assert refused_members({"1": group}, held, [Claim("1", "a", Resources(), LIMITS)]) == []
    assert refused_members({"1": group}, held, [Claim("1", "b", Resources(), LIMITS)]) != []


def test_two_per_host_are_two_per_host() -> None:
    group = GroupRow("default", "g", GroupPolicy.ANTI_AFFINITY, 2, 0.0)
    claims = [Claim(str(number), "a", Resources(), LIMITS) for number in range(3)]
    refused = refused_members(dict.fromkeys("012", group), {}, claims)
    assert [item["guest_uuid"] for item in refused] == ["2"]


def test_a_claim_that_names_a_generation_needs_that_one() -> None:
    claims = [Claim("1", "a", Resources(), LIMITS, generation=number) for number in (1, 2, None)]
    refused = refused_hosts({"a": ("", 2)}, claims)
    assert [(item["guest_uuid"], item["reason"]) for item in refused] == [("1", "generation")]
