# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at the hosts showed of the guests: states recorded, drift told, and what is known no longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from berth.ledger.rows import GuestRow, HostRow
from berth.ledger.store import Ledger
from berth.placement.variables import WHERE_TO_MEND, read_variables
from berth.verbs.observe import Observed
from berth.verbs.reality import Kind, Seen, answers, guest_differences

Row = dict[str, Any]
# The words of the answer.
STATE, DRIFT, MISSING, STALE = "state", "drift", "missing", "stale"
QUARANTINE, VARIABLES = "quarantine", "variables"
_WORDS = {Kind.TWIN: DRIFT, Kind.MOVED: DRIFT, Kind.NO_DOMAIN: MISSING}


def sync_rows(ledger: Ledger, cloud: str, asked: Sequence[HostRow], observed: Iterable[Observed]) -> list[Row]:
    """Returns one row per thing to tell: kind, guest, uuid, host, found, fix.

    `state` was recorded; `drift` and `missing` are told and nothing is changed; `stale` guests are on hosts that did
    not answer: what is known of them is as of their last look. `quarantine` is about a host.
    """
    guests = ledger.guests()
    names = {row.uuid: row.name for row in guests}
    found = [_state(names, one) for one in observed]
    everyone = ledger.hosts()
    looked_at = {host.name for host in asked}
    for one in guest_differences(Seen(cloud, everyone, guests)):
        if one.host in looked_at:
            found.append(_row(_WORDS[one.kind], one.host, one.found, one.fix, (names[one.subject], one.subject)))
    for host in asked:
        found += _unknown(host, [row for row in guests if row.host == host.name])
    return found


def variable_rows(inventory: Mapping[str, Any]) -> list[Row]:
    """Returns one row of kind `variables` per host whose variables do not hold: nothing is placed there until they do.

    They are no mistake of the inventory as a whole: that would keep all other hosts from being refreshed.
    """
    rows = []
    for name in inventory["compute"]:
        _settings, mistakes = read_variables(inventory["hosts"][name]["variables"])
        if mistakes:
            rows.append(
                _row(VARIABLES, name, "; ".join(mistakes), f"{WHERE_TO_MEND}, then `berth host refresh {name}`")
            )
    return rows


def _state(names: dict[str, str], one: Observed) -> Row:
    found = f"{one.before.vm_state} ({one.before.power_state}) is now {one.change.vm_state} ({one.change.power_state})"
    uuid = one.before.uuid
    return _row(STATE, str(one.before.host), found, "", (names.get(uuid, one.before.name), uuid))


def _unknown(host: HostRow, guests: Sequence[GuestRow]) -> Iterable[Row]:
    if host.quarantine:
        fix = f"is it the machine you mean? then `berth host refresh --accept {host.name}`"
        yield _row(QUARANTINE, host.name, host.quarantine, fix)
    if not answers(host):
        why = host.quarantine or host.unreachable_message or "it never answered"
        for row in guests:
            yield _row(
                STALE, host.name, f"{row.vm_state} ({row.power_state}) when last seen; {why}", "", (row.name, row.uuid)
            )


def _row(kind: str, host: str, found: str, fix: str, guest: tuple[str, str] | None = None) -> Row:
    name, uuid = guest or (None, None)
    return {"kind": kind, "guest": name, "uuid": uuid, "host": host, "found": found, "fix": fix}
