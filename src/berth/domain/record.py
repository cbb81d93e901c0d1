# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's record that its domain carries (docs/data.md, section 3): what a lost ledger is rebuilt from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from berth.domain.model import ImageOnHost

NAMESPACE = "urn:berth:guest:1"
VERSION = 1

# May hold passwords, or is of the moment and not the guest's.
_LEFT_OUT = ("user_data", "limits", "group_members")


def guest_record(
    plan: Mapping[str, Any], *, image: ImageOnHost, disks: Sequence[Mapping[str, Any]], seed_path: str
) -> dict[str, Any]:
    """Returns the record of a planned guest as JSON-ready data."""
    kept = {key: value for key, value in plan.items() if key not in _LEFT_OUT}
    return {
        **kept,
        "version": VERSION,
        "image_digest": image.digest,
        "image_format": image.format,
        "disks": [dict(disk) for disk in disks],
        "seed_path": seed_path,
    }


def record_text(record: Mapping[str, Any]) -> str:
    """Returns the record as one line of ASCII JSON: whatever the user wrote, XML can carry it."""
    return json.dumps(record, sort_keys=True, separators=(", ", ": "), ensure_ascii=True)
