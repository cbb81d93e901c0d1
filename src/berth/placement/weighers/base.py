# SPDX-License-Identifier: GPL-3.0-or-later
"""What a weigher is. Two shapes: over columns, or one host at a time."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from berth.placement.filters.base import Reads
from berth.placement.fleet import Floats, Rows
from berth.placement.model import GuestRequest, Host
from berth.placement.view import View

if TYPE_CHECKING:
    from berth.placement.profile import Options


class Weigher(abc.ABC):
    """A weigher over columns: one raw number per row, more is better.

    The engine clamps to `minval` and `maxval`, normalises over the surviving hosts to 0..1, multiplies, and adds
    up. `multiplier_option` is the key that a profile and an aggregate's metadata set the multiplier with.
    """

    reads: ClassVar[Reads] = Reads.ROW
    minval: ClassVar[float | None] = None
    maxval: ClassVar[float | None] = None
    multiplier_option: ClassVar[str]
    default_multiplier: ClassVar[float] = 1.0
    sign: ClassVar[float] = 1.0  # -1.0: the multiplier is given as a positive number and applied negated
    least_multiplier: ClassVar[float | None] = None  # what a profile may not go below
    off_at_zero: ClassVar[bool] = False  # a profile's 0 holds against an aggregate's multiplier

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def name(self) -> str:
        """Returns the name that profiles and reports use."""
        return type(self).__name__

    @abc.abstractmethod
    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns one number per row; None: the same for every host, so it decides nothing."""


class HostWeigher(Weigher):
    """A weigher in Nova's shape, one host at a time, lifted to a column. Costs a call per host."""

    @abc.abstractmethod
    def weigh_host(self, host: Host, request: GuestRequest) -> float:
        """Returns the host's raw number."""

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns weigh_host() over the rows."""
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([self.weigh_host(view.host(int(row)), request) for row in numbers], dtype=float)


__all__ = ["Floats", "HostWeigher", "Reads", "Rows", "Weigher"]
