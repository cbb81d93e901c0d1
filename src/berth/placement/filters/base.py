# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter is. Two shapes: over columns, or one host at a time."""

from __future__ import annotations

import abc
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from berth.placement.fleet import ALL, Mask, Rows
from berth.placement.model import GuestRequest, Host
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

if TYPE_CHECKING:
    from berth.placement.profile import Options


class Reads(IntEnum):
    """What a verdict depends on, and so when a batch has to ask again."""

    FACTS = 0  # nothing that a booking changes: never again
    ROW = 1  # the host's own usage and guests: again for the booked row
    BATCH = 2  # bookings on other hosts as well: again for all rows after a booking that `depends_on` names


class Filter(abc.ABC):
    """A filter over columns: a mask over the rows it is asked about.

    `passes` returns the mask of `rows`, or None when the request does not concern this filter (all pass).
    `reasons` tells why it refused one row, with numbers; it is asked only when somebody wants to know.
    Both depend on their arguments alone. A filter is made once per profile, with its options.
    `problems` names the mistakes in a request that this filter would stumble over: the batch is refused then.
    """

    reads: ClassVar[Reads] = Reads.ROW
    costly: ClassVar[bool] = False  # asked only about rows that every other filter passes

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def name(self) -> str:
        """Returns the name that profiles and reports use."""
        return type(self).__name__

    def reads_for(self, request: GuestRequest) -> Reads:
        """Returns what the verdict on this request depends on; `reads` unless a filter knows better."""
        return self.reads

    def depends_on(self, request: GuestRequest, booked: GuestRequest) -> bool:
        """Returns whether booking that guest may change the verdict on this request; asked where `reads` is BATCH."""
        return True

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns what is wrong with the request, as far as this filter reads it."""
        return ()

    @abc.abstractmethod
    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns which of `rows` pass; None: all of them, whatever the host."""

    @abc.abstractmethod
    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns why the row was refused: one reason or more."""


class HostFilter(Filter):
    """A filter in Nova's shape, one host at a time, lifted to a mask. Costs a call per host."""

    costly = True

    @abc.abstractmethod
    def host_passes(self, host: Host, request: GuestRequest) -> Reason | None:
        """Returns None when the host passes, else why not."""

    def concerns(self, request: GuestRequest) -> bool:
        """Returns whether the request concerns this filter at all; no host is asked when it does not."""
        return True

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the mask of host_passes() over the rows."""
        if not self.concerns(request):
            return None
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([self.host_passes(view.host(int(row)), request) is None for row in numbers], dtype=bool)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns host_passes()' own reason."""
        reason = self.host_passes(view.host(row), request)
        return (reason or Reason(Code.PLUGIN, f"{self.name} gave no reason"),)


__all__ = ["ALL", "Filter", "HostFilter", "Mask", "Reads", "Rows"]
