# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's visit: findings of all hosts that a refresh has just asked, and of the ledger against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.ledger.store import Ledger
from berth.spec.load import load_catalog
from berth.verbs.call import Call, Outcome
from berth.verbs.care import all_differences, care_findings
from berth.verbs.doctor import Finding, Status, Terms, findings, fleet_findings
from berth.verbs.host_refresh import RESULT, message_of, status_of

CONTROLLER = "controller"


def finish(call: Call) -> Outcome:
    """Returns `findings`, host by host in the order of a boot. Raises InvalidInput for mistakes of the catalog."""
    catalog = load_catalog(call.cloud.catalog_path)
    asked = {name: results[RESULT] for name, results in call.results.items() if RESULT in results}
    terms = Terms(
        now_s=call.now_s,
        facts_max_age_s=call.cloud.settings.facts_max_age_s,
        networks=[
            {"name": each.name, "kind": each.kind.value, "bridge": each.bridge} for each in catalog.networks.values()
        ],
        silent=_silent(asked),
    )
    with Ledger.open(call.cloud.ledger_url) as ledger:
        hosts = [host for host in ledger.hosts() if host.in_inventory]
        differences = all_differences(ledger, call.cloud.name, catalog)
        cared = care_findings(ledger, differences, asked, call.now_s)
    found = [_controller(asked)]
    found += [finding for host in hosts if host.name in asked for finding in findings(host, terms)]
    found += [finding for finding in fleet_findings(hosts) if finding.host in asked]
    found += cared
    return {"changed": False, "findings": [finding.to_dict() for finding in found]}


def _silent(asked: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    statuses = {name: status_of(result) for name, result in asked.items()}
    return {name: (status, message_of(asked[name])) for name, status in statuses.items() if status != "ok"}


def _controller(asked: Mapping[str, object]) -> Finding:
    if asked:
        return Finding(CONTROLLER, "inventory", Status.OK, f"{len(asked)} hosts asked")
    fix = "list your hosts under `compute` in inventory/hosts.yml"
    return Finding(CONTROLLER, "inventory", Status.FAIL, "no compute hosts", "one or more", fix)
