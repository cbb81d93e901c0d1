# SPDX-License-Identifier: GPL-3.0-or-later
"""When a host was looked at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def collected_s(facts: Mapping[str, Any]) -> float | None:
    """Returns when facts were collected, by the controller's clock; None when they do not say."""
    at, offset = facts.get("collected_at"), facts.get("clock_offset_s") or 0.0
    if not isinstance(at, int | float) or not isinstance(offset, int | float):
        return None
    return float(at) - float(offset)
