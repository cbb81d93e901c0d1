# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot books: all of it or nothing, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from berth.errors import Conflict
from berth.ledger import Ledger
from berth.ledger.claiming import ClaimRefused
from berth.ledger.model import GroupPolicy, VmState
from berth.ledger.quota import QuotaExceeded
from berth.ledger.rows import AddressRow, AddressWish, BootRecord, Claim, GroupRow, Quota, Resources, Usage

RANGE = {"network": "lan", "first": "192.168.150.10", "last": "192.168.150.12"}


def boot(ledger: Ledger, kit: Any, *names: str, host: str = "h1", **more: Any) -> Any:
    action = kit.begin(ledger, *names)
    new = tuple(kit.guest(name) for name in names)
    wishes = tuple(AddressWish(guest.uuid, 0, **RANGE) for guest in new)
    record = BootRecord(new, tuple(kit.claim(guest, host) for guest in new), wishes, **more)
    booked = ledger.record_boot(action.id, record)
    ledger.end_action(action.id)
    return booked


def test_a_boot_books_everything(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "web-1", "web-2")
    new = (kit.guest("web-1"), kit.guest("web-2"))
    booked = ledger.record_boot(
        action.id,
        BootRecord(
            new,
            (kit.claim(new[0], ports=1), kit.claim(new[1], "h2", ports=2)),
            tuple(AddressWish(guest.uuid, 0, reserved=("192.168.150.10",), **RANGE) for guest in new),
        ),
    )
    assert [row.address for row in booked.addresses] == ["192.168.150.11", "192.168.150.12"]
    assert all(row.mac.startswith("52:54:00:") for row in booked.addresses)
    assert booked.of_guest("web-2") == (booked.addresses[1],)
    assert booked.ports == {"web-1": (22000,), "web-2": (22000, 22001)}
    assert ledger.ports_of(["web-1", "web-2"]) == booked.ports
    assert ledger.usage() == {"h1": Usage(1, 512, 1024, 1), "h2": Usage(1, 512, 1024, 1)}
    row = ledger.guest("default", "WEB-2")
    assert (row.vm_state, row.host, row.request_id, row.action_id) == (VmState.BUILDING, "h2", "req-1", action.id)
    assert (row.metadata, row.plan, row.flavor) == ({"k": "v"}, {"vcpus": 1}, "m1.tiny")


def test_a_name_is_taken_until_its_guest_is_gone_whatever_its_case(ledger: Ledger, kit: Any) -> None:
    boot(ledger, kit, "web-1")
    with pytest.raises(Conflict, match="guest web-1 of project default is there already: building, host h1") as caught:
        boot(ledger, kit, "WEB-1")
    assert "berth delete" in caught.value.hint
    for action in ledger.open_actions():
        ledger.end_action(action.id)
    ledger.delete_guests(["web-1"])
    boot(ledger, kit, "WEB-1")
    assert [row.name for row in ledger.guests()] == ["WEB-1"]
    assert [row.name for row in ledger.guests(deleted=True)] == ["WEB-1", "web-1"]


def test_all_taken_names_are_told_at_once(ledger: Ledger, kit: Any) -> None:
    boot(ledger, kit, "a", "b")
    with pytest.raises(Conflict) as caught:
        boot(ledger, kit, "a", "b", "c")
    assert len(caught.value.details) == 2
    assert ledger.usage()["h1"].guests == 2


def test_only_names_that_the_action_holds_are_recorded(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "web-1")
    with pytest.raises(Conflict, match="does not hold web-2"):
        ledger.record_boot(action.id, BootRecord((kit.guest("web-2"),)))
    ledger.end_action(action.id, "given up")
    with pytest.raises(Conflict, match="is over: given up"):
        ledger.record_boot(action.id, BootRecord((kit.guest("web-1"),)))


@pytest.mark.parametrize(
    ("amount", "limits"),
    [
        ("vcpus", Resources(2, 9999, 99999)),
        ("memory_mib", Resources(99, 1535, 99999)),
        ("disk_mib", Resources(99, 9999, 3071)),
    ],
)
def test_claims_are_refused_past_a_limit_and_nothing_is_booked(
    ledger: Ledger, kit: Any, amount: str, limits: Resources
) -> None:
    names = ("a", "b", "c")
    action = kit.begin(ledger, *names)
    new = tuple(kit.guest(name) for name in names)
    record = BootRecord(
        new,
        tuple(kit.claim(guest, limits=limits) for guest in new),
        tuple(AddressWish(guest.uuid, 0, **RANGE) for guest in new),
    )
    with pytest.raises(ClaimRefused, match=f"host h1: {amount}") as caught:
        ledger.record_boot(action.id, record)
    refused = caught.value.data["refused"]
    assert [(item["guest_uuid"], item["host"], item["reason"]) for item in refused] == [("c", "h1", amount)]
    assert refused[0]["need"] > refused[0]["have"]
    assert (ledger.usage(), ledger.guests(), ledger.addresses_of()) == ({}, [], [])


def test_a_claim_up_to_the_limit_holds(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a")
    new = kit.guest("a")
    ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new, limits=new.resources),)))
    assert ledger.usage()["h1"] == Usage(1, 512, 1024, 1)


def test_an_unknown_host_takes_no_claim(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a")
    new = kit.guest("a")
    with pytest.raises(Conflict, match="no host nowhere"):
        ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new, "nowhere"),)))


def test_a_claim_moves_to_the_next_host_or_stays(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a", "b")
    a, b = kit.guest("a"), kit.guest("b")
    ledger.record_boot(action.id, BootRecord((a, b), (kit.claim(a, "h1", ports=1), kit.claim(b, "h2"))))
    assert ledger.move_claim(action.id, kit.claim(a, "h3", ports=2)) == (22000, 22001)
    assert sorted(ledger.usage()) == ["h2", "h3"]
    assert ledger.ports_of(["a"]) == {"a": (22000, 22001)}
    assert ledger.guest("default", "a").host == "h3"
    with pytest.raises(ClaimRefused):
        ledger.move_claim(action.id, Claim("a", "h2", a.resources, limits=Resources(1, 512, 1024)))
    assert [(row.guest_uuid, row.host) for row in ledger.claims_of(["a", "b"])] == [("b", "h2"), ("a", "h3")]
    assert ledger.ports_of(["a"]) == {"a": (22000, 22001)}


def test_addresses_run_out_and_come_back(ledger: Ledger, kit: Any) -> None:
    boot(ledger, kit, "a", "b", "c")
    with pytest.raises(Conflict, match=r"network lan: no address is free from 192.168.150.10 to 192.168.150.12"):
        boot(ledger, kit, "d")
    for action in ledger.open_actions():
        ledger.end_action(action.id)
    ledger.delete_guests(["b"])
    assert boot(ledger, kit, "e").addresses[0].address == "192.168.150.11"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"address": "192.168.150.10"}, "address 192.168.150.10 of network lan is taken"),
        (
            {"address": "192.168.150.99", "reserved": ("192.168.150.99",)},
            "address 192.168.150.99 of network lan is taken",
        ),
        ({"mac": "52-54-00-AA-BB-CC"}, "MAC 52:54:00:aa:bb:cc is taken"),
        ({"mac": "nonsense"}, "MAC 'nonsense': not a MAC address"),
        ({"address": "1.2.3"}, "address '1.2.3': not an IPv4 or IPv6 address"),
    ],
)
def test_certain_addresses_are_given_or_refused(ledger: Ledger, kit: Any, wish: dict[str, Any], message: str) -> None:
    boot(ledger, kit, "a", reserved_macs=frozenset({"52:54:00:AA:BB:CC"}))
    action = kit.begin(ledger, "b")
    new = kit.guest("b")
    with pytest.raises(Conflict) as caught:
        record = BootRecord(
            (new,), (), (AddressWish("b", 0, **{"network": "lan"} | wish),), frozenset({"52:54:00:aa:bb:cc"})
        )
        ledger.record_boot(action.id, record)
    assert caught.value.message == message or message in caught.value.message
    booked = ledger.record_boot(
        action.id,
        BootRecord((new,), (), (AddressWish("b", 0, "lan", address="192.168.150.77", mac="52:54:00:00:00:01"),)),
    )
    assert booked.addresses == (AddressRow("b", 0, "lan", "52:54:00:00:00:01", "192.168.150.77"),)


def test_an_asked_for_address_is_not_handed_to_another_guest_of_the_boot(ledger: Ledger, kit: Any) -> None:
    action = kit.begin(ledger, "a", "b")
    wishes = (AddressWish("a", 0, **RANGE), AddressWish("b", 0, address="192.168.150.10", **RANGE))
    booked = ledger.record_boot(action.id, BootRecord((kit.guest("a"), kit.guest("b")), (), wishes))
    assert {row.guest_uuid: row.address for row in booked.addresses} == {"a": "192.168.150.11", "b": "192.168.150.10"}


@pytest.mark.parametrize(
    ("policy", "held", "wanted", "refused"),
    [
        (GroupPolicy.ANTI_AFFINITY, "h1", ["h2", "h3"], []),
        (GroupPolicy.ANTI_AFFINITY, "h1", ["h1", "h2"], ["h1"]),
        (GroupPolicy.ANTI_AFFINITY, "h1", ["h2", "h2"], ["h2"]),
        (GroupPolicy.AFFINITY, "h1", ["h1", "h1"], []),
        (GroupPolicy.AFFINITY, "h1", ["h1", "h2"], ["h2"]),
        (GroupPolicy.SOFT_ANTI_AFFINITY, "h1", ["h1", "h1"], []),
        (GroupPolicy.SOFT_AFFINITY, "h1", ["h2", "h3"], []),
    ],
)
def test_group_policies_hold_when_claims_are_booked(
    ledger: Ledger, kit: Any, policy: GroupPolicy, held: str, wanted: list[str], refused: list[str]
) -> None:
    ledger.ensure_group("default", "g", policy)
    action = kit.begin(ledger, "first", "a", "b")
    first = kit.guest("first", group="g")
    ledger.record_boot(action.id, BootRecord((first,), (kit.claim(first, held),)))
    new = (kit.guest("a", group="g"), kit.guest("b", group="g"))
    record = BootRecord(new, tuple(kit.claim(guest, host) for guest, host in zip(new, wanted, strict=True)))
    if not refused:
        ledger.record_boot(action.id, record)
        assert sorted(row.host for row in ledger.group_members("default", "g")) == sorted([held, *wanted])
        return
    with pytest.raises(ClaimRefused) as caught:
        ledger.record_boot(action.id, record)
    assert [(item["host"], item["reason"]) for item in caught.value.data["refused"]] == [
        (host, "group") for host in refused
    ]


def test_a_host_has_a_new_generation_with_every_change_of_its_claims(ledger: Ledger, kit: Any) -> None:
    def generations() -> list[int]:
        return [ledger.host(name).generation for name in ("h1", "h2")]

    action, new = kit.begin(ledger, "a", "b"), kit.guest("a")
    ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new),)))
    assert generations() == [1, 0]
    ledger.move_claim(action.id, kit.claim(new, "h2"))
    assert generations() == [2, 1]
    late = kit.guest("b")
    with pytest.raises(ClaimRefused, match="host h2: generation 1, it was 0 when it was looked at"):
        ledger.record_boot(action.id, BootRecord((late,), (replace(kit.claim(late, "h2"), generation=0),)))
    ledger.record_boot(action.id, BootRecord((late,), (replace(kit.claim(late, "h2"), generation=1),)))
    ledger.delete_guests(["a", "b"])
    assert generations() == [2, 3]


def test_whatever_is_learnt_of_a_host_is_a_new_generation(ledger: Ledger, kit: Any) -> None:
    """A claim was decided on what was known: on another memory, or before the host was disabled."""
    before = ledger.host("h1").generation
    kit.add_hosts(ledger, "h1")
    ledger.set_host_enabled("h1", False)
    assert ledger.host("h1").generation == before + 2
    action, new = kit.begin(ledger, "a"), kit.guest("a")
    with pytest.raises(ClaimRefused, match="it was 0 when it was looked at"):
        ledger.record_boot(action.id, BootRecord((new,), (replace(kit.claim(new), generation=before),)))


def test_a_guest_may_claim_its_own_host_again(ledger: Ledger, kit: Any) -> None:
    """Giving the old claim back changes the host too: that alone must not refuse the new one."""
    action, new = kit.begin(ledger, "a"), kit.guest("a")
    ledger.record_boot(action.id, BootRecord((new,), (kit.claim(new),)))
    seen = ledger.host("h1").generation
    ledger.move_claim(action.id, replace(kit.claim(new), generation=seen))
    assert [row.host for row in ledger.claims_of(["a"])] == ["h1"]
    with pytest.raises(ClaimRefused, match="generation"):
        ledger.move_claim(action.id, replace(kit.claim(new), generation=seen))


def test_a_refused_boot_leaves_no_group(ledger: Ledger, kit: Any) -> None:
    group = GroupRow("default", "g", GroupPolicy.ANTI_AFFINITY, 1, 1.0)
    action, new = kit.begin(ledger, "a"), kit.guest("a", group="g")
    tight = BootRecord((new,), (kit.claim(new, limits=Resources()),), group=group)
    with pytest.raises(ClaimRefused):
        ledger.record_boot(action.id, tight)
    with pytest.raises(QuotaExceeded) as caught:
        ledger.record_boot(action.id, replace(tight, quota=Quota(guests=0, server_groups=0)))
    assert [item["amount"] for item in caught.value.data["exceeded"]] == ["guests", "server_groups"]
    assert ledger.groups() == []
    ledger.record_boot(action.id, replace(tight, claims=(kit.claim(new),), quota=Quota(server_groups=1)))
    assert [row.name for row in ledger.groups()] == ["g"]
