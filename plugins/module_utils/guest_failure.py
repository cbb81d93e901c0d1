# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a guest could not be made, started, stopped or removed."""

from __future__ import annotations

HOST = "host"  # another host may serve
REQUEST = "request"  # no host can


class GuestFailure(Exception):
    """A failure of one guest. `reason` is a short code, `kind` says whether another host could help."""

    def __init__(self, reason: str, message: str, kind: str = HOST) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind
