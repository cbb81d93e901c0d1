# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error Berth raises on purpose. A traceback of anything else is a bug.

BerthError                 exit code 1
├── InvalidInput           2  what the user wrote: catalog, request, options
│   └── NotFound           3  a name that nothing has
├── Conflict               4  the name, address or state is taken by something else
├── NoValidHost            5  placement found no host; carries the report
├── HostFailed             6  a host refused or failed; the others may have served
├── Partial                7  some hosts did not answer, or some guests failed; the rest of the answer is right
└── Busy                   8  another run holds what this one needs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class BerthError(Exception):
    """An error with a message for a person and a next step.

    `message` names the object, the found value and what is allowed; `hint` says what to do next;
    `details` are further lines (one per error or host); `data` is the same as plain JSON.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: tuple[str, ...] = (),
        data: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        self.data = dict(data or {})

    def to_dict(self) -> dict[str, Any]:
        """Returns the error as JSON-ready data: error, exit_code, message, hint, details, data."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "details": list(self.details),
            "data": self.data,
        }


@dataclass(frozen=True)
class Problem:
    """One mistake in something the user wrote. `where` is `file:line: path` as far as known."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InvalidInput(BerthError):
    """What the user wrote does not hold. `details` has one line per mistake: all of them, not the first."""

    exit_code = 2

    @classmethod
    def from_problems(cls, what: str, problems: list[Problem], *, hint: str = "") -> InvalidInput:
        """Returns one error for all problems; `what` names the thing that was read."""
        count = len(problems)
        message = f"{what}: {problems[0]}" if count == 1 else f"{what}: {count} mistakes"
        details = () if count == 1 else tuple(str(problem) for problem in problems)
        data = {"problems": [{"where": p.where, "message": p.message} for p in problems]}
        return cls(message, hint=hint, details=details, data=data)


class NotFound(InvalidInput):
    """A name that nothing has."""

    exit_code = 3


class Conflict(BerthError):
    """A name, address or state is already taken."""

    exit_code = 4


class NoValidHost(BerthError):
    """No host can take the request. `details` lists every refused host with its reason and numbers."""

    exit_code = 5


class HostFailed(BerthError):
    """A host refused or failed the work it was given."""

    exit_code = 6


class Partial(BerthError):
    """Some hosts did not answer; what was printed is right for the others."""

    exit_code = 7


class Busy(BerthError):
    """Another run holds what this one needs; `data` names its owner."""

    exit_code = 8


def error_from_dict(data: Mapping[str, Any]) -> BerthError:
    """Returns the error that to_dict() described: how an error crosses from a playbook to the CLI.

    Of a kind that this process has not loaded, it is the kind of this module with the same exit code.
    """
    kinds = {kind.__name__: kind for kind in _tree(BerthError)}
    codes = {kind.exit_code: kind for kind in reversed(_tree(BerthError)) if kind.__module__ == __name__}
    kind = kinds.get(str(data.get("error"))) or codes.get(int(data.get("exit_code", 1)), BerthError)
    return kind(
        str(data.get("message", "")),
        hint=str(data.get("hint", "")),
        details=tuple(data.get("details", ())),
        data=data.get("data"),
    )


def _tree(kind: type[BerthError]) -> list[type[BerthError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]
