# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a guest could not be made, started, stopped or removed."""

from __future__ import annotations

HOST = "host"  # the guest is not on this host, and another host may serve
REQUEST = "request"  # no host can help
HERE = "here"  # the guest is on this host, or may be: it must not be made anywhere else


class GuestFailure(Exception):
    """A failure of one guest. `reason` is a stable word for programs, `kind` says who could help."""

    def __init__(self, reason: str, message: str, kind: str = HOST) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind
