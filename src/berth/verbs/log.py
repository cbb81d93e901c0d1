# SPDX-License-Identifier: GPL-3.0-or-later
"""Log: where a guest's console log is."""

from __future__ import annotations

from berth.errors import Conflict
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_names import find_guest
from berth.verbs.host_answers import guest_targets


def begin(call: Call) -> Outcome:
    """Returns the guest's name and UUID, and the host and path of its console log.

    Raises NotFound; Conflict for a guest without a host.
    """
    with Ledger.open(call.cloud.ledger_url) as ledger:
        project = str(call.request.get("project") or call.cloud.settings.default_project)
        row = find_guest(ledger, str(call.request["name"]), project)
        if row.host is None:
            raise Conflict(f"guest {row.name} has no console: it has no host", hint=f"see `berth show {row.name}`")
        target = guest_targets(row, ledger.host(row.host))
    return {
        "name": row.name,
        "uuid": row.uuid,
        "hosts": [row.host],
        "console_log": target["console_log"],
        "lines": int(call.request.get("lines") or 100),
        "changed": False,
    }
