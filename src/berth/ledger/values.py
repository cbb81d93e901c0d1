# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plain values the ledger can hold, on both databases. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

# PostgreSQL, "Numeric Types": integer and bigint.
WHOLE_MOST = 2**31 - 1
BIG_WHOLE_MOST = 2**63 - 1
# The last second of year 9999: later than datetime can tell.
TIME_MOST_S = 253_402_300_799
# PostgreSQL's text has no NUL, and half a surrogate pair is in no encoding.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_text(value: Any) -> bool:
    """Returns whether it is text that can be stored."""
    return isinstance(value, str) and not _UNSTORABLE.search(value)


def is_whole(value: Any, least: int = 0, most: int = WHOLE_MOST) -> bool:
    """Returns whether it is a whole number from `least` to `most`."""
    return type(value) is int and least <= value <= most


def is_time(value: Any) -> bool:
    """Returns whether it is a time in seconds since the epoch that can be shown."""
    return type(value) in (int, float) and 0 <= value <= TIME_MOST_S


def is_json(value: Any) -> bool:
    """Returns whether it can be written as JSON, which has neither NaN nor Infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
