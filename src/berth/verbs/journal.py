# SPDX-License-Identifier: GPL-3.0-or-later
"""What action plug-ins write before a host works: that it is about to. The outcome is written when it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.cloud import find_cloud
from berth.ledger.model import STEPS, Step
from berth.ledger.store import Ledger


def write_intent(journal: Mapping[str, Any] | None, step: str, host: str) -> None:
    """Writes that `step` is about to be done on `host` for the journal's guests.

    `journal` is what the conductor put into the host's work: `cloud` (directory), `action` and `guests` (UUIDs).
    Without one (a playbook of the user's own) nothing is written. Raises Conflict when the action is over.
    """
    if not journal:
        return
    with Ledger.open(find_cloud(journal["cloud"]).ledger_url) as ledger:
        action_id = str(journal["action"])
        steps: type[Step] = STEPS[ledger.action(action_id).verb]
        ledger.begin_step(action_id, steps(step), list(journal["guests"]), host=host)
