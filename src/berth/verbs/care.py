# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds besides the hosts' health: ledger and hosts that differ, the ledger itself, stuck runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from berth.ledger.consistency import Finding as LedgerFinding
from berth.ledger.consistency import Kind as LedgerKind
from berth.ledger.model import RULES, STEPS, PowerStep, Verb
from berth.ledger.owner import Owner, proof_of_death
from berth.ledger.rows import ActionRow, GuestRow
from berth.ledger.store import Ledger
from berth.spec.catalog import Catalog
from berth.verbs.doctor import Finding, Status
from berth.verbs.reality import Difference, Mend, Seen, differences, image_file

LEDGER = "ledger"
# An action that works for longer than this is worth a look; a boot of many guests takes minutes.
LONG_S = 3600.0
# Mended with the whole ledger at once.
REPAIR = "repair"
STUCK_POWER = "stuck_power"
POWER_TASKS = {RULES[verb].task: verb for verb, steps in STEPS.items() if steps is PowerStep}
_SEVERE = (LedgerKind.DAMAGED, LedgerKind.WRONG_VALUE, LedgerKind.TWIN_MACHINE)


def all_differences(ledger: Ledger, cloud: str, catalog: Catalog) -> list[Difference]:
    """Returns where ledger and hosts differ, as of the hosts' last facts."""
    digests = {row.name: row.digest for row in ledger.images()}
    wanted = {
        image_file(str(image.digest or digests.get(name)), image.format.value) for name, image in catalog.images.items()
    }
    return differences(Seen(cloud, ledger.hosts(), ledger.guests(deleted=True), wanted))


def care_findings(ledger: Ledger, found: Iterable[Difference], hosts: Collection[str], now_s: float) -> list[Finding]:
    """Returns the findings: of these hosts, and of the ledger."""
    actions = ledger.open_actions()
    return [
        *(_of_difference(one) for one in found if one.host in hosts),
        *(_of_action(row, ledger.held_names(row.id), now_s) for row in actions if _is_stuck(row, now_s)),
        *(_of_power(row) for row in stuck_power(ledger)),
        *(_of_ledger(one) for one in ledger.check() if one.kind is not LedgerKind.DEAD_ACTION),
    ]


def stuck_power(ledger: Ledger) -> Iterator[GuestRow]:
    """Yields the guests whose start, stop or reboot nobody works on any more: they are what their hosts show."""
    owners = {(row.project, name): row for row in ledger.open_actions() for name in ledger.held_names(row.id)}
    for guest in ledger.guests():
        action = owners.get((guest.project, guest.name.casefold()))
        if guest.task_state in POWER_TASKS and (action is None or proof_of_death(Owner(**action.owner)) is not None):
            yield guest


def _of_difference(one: Difference) -> Finding:
    status = Status.FAIL if one.serious else Status.WARN
    return Finding(one.host, one.kind.value, status, one.found, "", one.fix, one.key, one.mend.value)


def _is_stuck(row: ActionRow, now_s: float) -> bool:
    return proof_of_death(Owner(**row.owner)) is not None or now_s - row.since > LONG_S


def _of_action(row: ActionRow, names: Collection[str], now_s: float) -> Finding:
    owner = Owner(**row.owner)
    proof = proof_of_death(owner)
    age = f"{max(0.0, now_s - row.since):.0f} s"
    found = f"{row.verb} of {', '.join(names) or 'nothing more'} (action {row.id}) by {owner} since {age}: "
    if proof is None:
        fix = (
            "it may still work: see that process on its machine; if that machine or container never returns: "
            f"`berth ledger repair --run-is-gone {row.id}`"
        )
        return Finding(LEDGER, "stuck_action", Status.WARN, f"{found}it is not known to be dead", "", fix)
    again = "delete" if row.verb is Verb.DELETE else "same verb"
    fix = f"run the {again} again to finish it; `berth doctor --fix` only lets its guests go"
    return Finding(
        LEDGER, "stuck_action", Status.WARN, f"{found}{proof}", "", fix, f"{REPAIR}:{row.id}", Mend.SAFE.value
    )


def _of_power(row: GuestRow) -> Finding:
    found = f"guest {row.name} is {row.task_state} since its run died"
    fix = "record what its host shows: `berth doctor --fix`; or run the verb again"
    key = f"{STUCK_POWER}:{row.uuid}"
    return Finding(str(row.host or LEDGER), STUCK_POWER, Status.WARN, found, "", fix, key, Mend.SAFE.value)


def _of_ledger(one: LedgerFinding) -> Finding:
    status = Status.FAIL if one.kind in _SEVERE else Status.WARN
    fix = "`berth doctor --fix`" if one.safe else one.hint or "a person must decide; `berth show` tells more of a guest"
    safe = (f"{REPAIR}:{one.kind}:{one.key}", Mend.SAFE.value) if one.safe else ("", "")
    return Finding(LEDGER, one.kind.value, status, one.message, "", fix, *safe)
