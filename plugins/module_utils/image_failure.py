# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of everything that pulls and inspects images."""

from __future__ import annotations

HOST = "host"
REQUEST = "request"


class ImageFailure(Exception):
    """An image cannot be made present.

    `kind` is `host` (another host, or this one later, may do) or `request` (no host can help); `reason` is a stable
    word for programs; the text names what was found, what is allowed and the next step.
    """

    def __init__(self, kind: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message


class ImageRefused(ImageFailure):
    """The content of the image is not allowed, on any host. `reasons` has every finding, the first one is `reason`."""

    def __init__(self, *findings: "tuple[str, str]") -> None:
        super().__init__(REQUEST, findings[0][0], "; ".join(text for _reason, text in findings))
        self.reasons = tuple(reason for reason, _text in findings)
