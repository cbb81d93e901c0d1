# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refresh learns: the hosts' facts, their groups, the aggregates. Light, because reads use it too."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.errors import InvalidInput, NotFound, Problem

if TYPE_CHECKING:
    from berth.ledger.rows import HostUpdate
    from berth.ledger.store import Ledger
    from berth.verbs.call import Call, Outcome

# What playbooks/host_refresh.yml registers.
RESULT = "berth_facts_result"
AGGREGATE = "berth_aggregate"
ZONE = "berth_availability_zone"


def finish(call: Call) -> Outcome:
    """Stores what the hosts said and returns `refreshed`, one row per asked host, and `guests` (berth.verbs.sync).

    `guests` begins with the hosts whose variables do not hold. A row of `refreshed` has name, status (ok, unreachable
    or failed), message and domain_type. The request's `hosts` are the names or patterns that were asked for, without
    them all. Raises NotFound for a name the inventory does not have as a compute host, InvalidInput with every mistake
    of the inventory.
    """
    from berth.ledger.store import Ledger
    from berth.verbs.sync import variable_rows

    inventory = call.inventory
    check_inventory(inventory, call.request.get("hosts") or ())
    updates = hosts_from_results(call.results, inventory)
    guests = variable_rows(inventory)
    if not call.check_mode:
        with Ledger.open(call.cloud.ledger_url) as ledger:
            guests += _store(ledger, call, updates)
    refreshed = [_row(update, call.results[update.name]) for update in updates if update.asked]
    return {"changed": False, "refreshed": refreshed, "guests": guests}


def _store(ledger: Ledger, call: Call, updates: Sequence[HostUpdate]) -> list[dict[str, Any]]:
    from berth.ledger.store_hosts import Refresh, learnt
    from berth.verbs.observe import record_power
    from berth.verbs.sync import sync_rows

    refresh = Refresh(
        updates=updates,
        aggregates=aggregates_from_inventory(call.inventory),
        inventory_digest=inventory_digest(call.cloud.inventory_path),
        at=call.now_s,
    )
    before = {host.name: host for host in ledger.hosts()}
    after = [learnt(before.get(update.name), update, call.now_s) for update in updates if update.asked]
    boots = {name: _boot_id(host.facts) for name, host in before.items()}
    booted = {host.name for host in after if boots.get(host.name) not in (None, _boot_id(host.facts))}
    # Before the facts: a run that dies in between leaves the old boot id, so the next one still sees that hosts booted.
    observed = record_power(ledger, after, booted=booted)
    return sync_rows(ledger, call.cloud.name, ledger.store_hosts(refresh), observed)


def _boot_id(facts: Mapping[str, Any] | None) -> str | None:
    return (facts or {}).get("boot_id")


def hosts_from_results(results: Mapping[str, Mapping[str, Any]], inventory: Mapping[str, Any]) -> list[HostUpdate]:
    """Returns what was learnt of each compute host, by name. Pure.

    A host that has no result was not asked: of it the inventory is learnt. One that did not answer, or whose libvirt
    did not, has a message instead of facts.
    """
    from berth.ledger.rows import HostUpdate

    updates = []
    for name in inventory["compute"]:
        result = results.get(name, {}).get(RESULT)
        known = inventory["hosts"][name]
        facts = result.get("host") if result is not None and status_of(result) == "ok" else None
        updates.append(
            HostUpdate(
                name=name,
                facts=dict(facts) if facts is not None else None,
                unreachable_message=None if facts is not None or result is None else message_of(result),
                groups=tuple(known["groups"]),
                variables=dict(known["variables"]),
                access=dict(known["access"]),
                asked=result is not None,
            )
        )
    return updates


def status_of(result: Mapping[str, Any]) -> str:
    """Returns ok, unreachable (no way to the host) or failed (the host is there, its libvirt or Python is not)."""
    if result.get("unreachable"):
        return "unreachable"
    return "ok" if isinstance(result.get("host"), Mapping) else "failed"


def message_of(result: Mapping[str, Any]) -> str:
    """Returns why there are no facts, on one line. A module that could not start says why only on its stderr."""
    text = str(result.get("msg") or "it gave no reason")
    said = str(result.get("module_stderr") or "").strip().splitlines()
    return " ".join([*text.split(), *(said[-1].split() if said else ())])


def _row(update: HostUpdate, results: Mapping[str, Any]) -> dict[str, Any]:
    virtualization = (update.facts or {}).get("virtualization") or {}
    return {
        "name": update.name,
        "status": status_of(results[RESULT]),
        "message": update.unreachable_message or "",
        "domain_type": virtualization.get("domain_type"),
    }


def aggregates_from_inventory(inventory: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns aggregate -> its metadata: each group's own `berth_aggregate`. Pure; the view has been checked."""
    found = {}
    for name, group in inventory["groups"].items():
        if AGGREGATE in group["vars"]:
            found[name] = dict(group["vars"][AGGREGATE] or {})
    return found


def check_inventory(inventory: Mapping[str, Any], asked: Sequence[str]) -> None:
    """Raises NotFound for asked hosts that are not there, InvalidInput with every other mistake of the inventory."""
    problems = [Problem("", text) for text in inventory["problems"]]
    problems += [Problem("", text) for text in (*_aggregate_problems(inventory), *_zone_problems(inventory))]
    if problems:
        raise InvalidInput.from_problems("inventory", problems, hint="mend the inventory; docs/facts.md shows one")
    unknown = [Problem("", _unknown(name, inventory)) for name in asked if not _matches(name, inventory)]
    if unknown:
        raise NotFound.from_problems("hosts", unknown, hint="a host is a member of the inventory's group `compute`")


def _aggregate_problems(inventory: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, group in inventory["groups"].items():
        metadata = group["vars"].get(AGGREGATE) or {}
        if not isinstance(metadata, Mapping):
            problems.append(f"group {name}: {AGGREGATE}: found {metadata!r}, allowed: a map of keys and values")
            continue
        for key, value in metadata.items():
            if not isinstance(value, str | int | float | bool):
                problems.append(f"group {name}: {AGGREGATE}.{key}: found {value!r}, allowed: text, a number or a bool")
    return problems


def _zone_problems(inventory: Mapping[str, Any]) -> list[str]:
    """Returns the hosts that two groups put into different zones: Ansible would pick one by the groups' names."""
    groups = inventory["groups"]
    zones = {name: group["vars"][ZONE] for name, group in groups.items() if ZONE in group["vars"]}
    problems = []
    for host in inventory["compute"]:
        mine = {name for name in zones if host in groups[name]["hosts"]}
        # A child group overrides its ancestors on purpose.
        mine -= {ancestor for name in mine for ancestor in groups[name]["ancestors"]}
        said = {name: zones[name] for name in sorted(mine)}
        if len(set(said.values())) > 1 and ZONE not in inventory["hosts"][host].get("own", ()):
            listed = ", ".join(f"{zone} by group {name}" for name, zone in said.items())
            problems.append(f"host {host}: {ZONE}: found {listed}; allowed: one zone per host")
    return problems


def _matches(name: str, inventory: Mapping[str, Any]) -> bool:
    # Patterns are Ansible's business: it has already warned of those that match nothing.
    return name in inventory["compute"] or name in inventory["groups"] or any(mark in name for mark in "*?[~!&:")


def _unknown(name: str, inventory: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, inventory["compute"], n=1)
    return f"no compute host {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def inventory_digest(inventory_path: Path) -> str:
    """Returns a digest of the inventory's files, names and content: when it changed, the ledger's copy may be stale.

    Without Ansible, so that every read can afford it; what Ansible ignores (hidden files, backups) is ignored too.
    """
    digest = hashlib.sha256()
    root = inventory_path
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    for file in files:
        relative = file.relative_to(root)
        if not file.is_file() or any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            continue
        if file.name.endswith(("~", ".pyc", ".swp", ".orig", ".bak", ".retry")):
            continue
        digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def clock_offset_s(host_time: float, begin: float, end: float) -> float:
    """Returns by how much a host's clock is ahead (above 0) of the controller's, at the least.

    The host read its clock at some time between `begin` and `end` of the controller's. The smallest offset that fits is
    returned: a slow connection must not look like a wrong clock.
    """
    if host_time > end:
        return round(host_time - end, 3)
    return round(min(host_time - begin, 0.0), 3)
