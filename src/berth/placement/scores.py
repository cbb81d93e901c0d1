# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of the hosts that passed, kept up to date one row at a time.

score(host) = sum over the weighers, in the profile's order, of multiplier(host) * normalised(raw(host));
normalised = (raw - lo) / (hi - lo) over the hosts that passed, 0 where lo == hi. With fewer than two hosts
no weigher runs and the score is 0. Source: nova/weights.py of release 34.0.0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from berth.placement.aggregates import aggregate_numbers
from berth.placement.filters.base import Reads
from berth.placement.fleet import ALL, Floats, Mask
from berth.placement.model import GuestRequest
from berth.placement.view import View, one_row
from berth.placement.weighers.base import Weigher

RowNumbers = npt.NDArray[np.intp]


class WeighedColumn:
    """One weigher's share of the score, over the hosts that passed."""

    __slots__ = ("hi", "lo", "multiplier", "normalised", "part", "raw", "weigher")

    def __init__(self, weigher: Weigher, raw: Floats, multiplier: float | Floats) -> None:
        self.weigher = weigher
        self.raw = self._clamped(raw)
        self.multiplier = multiplier
        self.normalised: Floats | None = None
        self.part: Floats | None = None
        self.lo = self.hi = 0.0
        self.rescale()

    def _clamped(self, raw: Floats) -> Floats:
        low, high = self.weigher.minval, self.weigher.maxval
        if low is not None:
            raw = np.maximum(raw, low)
        return raw if high is None else np.minimum(raw, high)

    def rescale(self) -> None:
        """Finds the bounds again and normalises every host."""
        weigher = self.weigher
        self.lo = float(self.raw.min() if weigher.minval is None else weigher.minval)
        self.hi = float(self.raw.max() if weigher.maxval is None else weigher.maxval)
        if self.lo == self.hi:
            self.normalised = self.part = None
            return
        self.normalised = np.subtract(self.raw, self.lo, out=self.normalised)
        np.divide(self.normalised, self.hi - self.lo, out=self.normalised)
        self.part = np.multiply(self.normalised, self.multiplier, out=self.part)

    def set_raw(self, at: int, raw: Floats) -> bool:
        """Sets one host's raw number. Returns whether the bounds moved, and so every host's share with them."""
        new = float(self._clamped(raw)[0])
        old = float(self.raw[at])
        if new == old:
            return False
        self.raw[at] = new
        if new > self.hi or new < self.lo or old in (self.hi, self.lo) or self.part is None:
            self.rescale()
            return True
        if self.normalised is not None:
            share = (new - self.lo) / (self.hi - self.lo)
            self.normalised[at] = share
            self.part[at] = share * (self.multiplier if isinstance(self.multiplier, float) else self.multiplier[at])
        return False

    def remove(self, at: int) -> None:
        """Takes one host out and rescales."""
        self.raw = np.delete(self.raw, at)
        self.normalised = self.part = None
        if not isinstance(self.multiplier, float):
            self.multiplier = np.delete(self.multiplier, at)
        self.rescale()


class Scores:
    """The scores of one request's surviving hosts. `rows` ascends, so equal scores stay in the order of names.

    `everything` also keeps the weighers that cannot change the choice, for explanations.
    """

    def __init__(
        self,
        view: View,
        request: GuestRequest,
        mask: Mask | None,
        weighers: tuple[tuple[Weigher, float], ...],
        *,
        everything: bool = False,
    ) -> None:
        self.view = view
        self.request = request
        self.rows: RowNumbers = np.arange(view.fleet.size) if mask is None else np.flatnonzero(mask)
        self.columns: list[WeighedColumn] = []
        if self.rows.size > 1:
            rows = ALL if self.rows.size == view.fleet.size else self.rows
            for weigher, default in weighers:
                multiplier = multiplier_of(view, weigher, default)
                if isinstance(multiplier, float):
                    if multiplier == 0.0 and not everything:
                        continue
                else:
                    multiplier = multiplier[rows]
                raw = weigher.raw(view, request, rows)
                if raw is None and everything:
                    raw = np.zeros(self.rows.size)
                if raw is not None:
                    self.columns.append(WeighedColumn(weigher, raw, multiplier))
        self._owned = False
        self.total = self._sum()

    def _sum(self) -> Floats:
        total: Floats | None = None
        shared = True
        for column in self.columns:
            if column.part is None:
                continue
            if total is None:
                total = column.part
            elif shared:
                total, shared = total + column.part, False
            else:
                total += column.part
        if total is None:
            return np.zeros(self.rows.size)
        return total.copy() if shared else total

    def update(self, row: int) -> None:
        """Weighs one surviving host again after a booking on it."""
        at = int(np.searchsorted(self.rows, row))
        rows = one_row(row)
        moved = False
        for column in self._own_columns():
            if column.weigher.reads == Reads.FACTS:
                continue
            raw = column.weigher.raw(self.view, self.request, rows)
            if raw is not None:
                moved |= column.set_raw(at, raw)
        if moved:
            self.total = self._sum()
        elif self.columns:
            self.total[at] = _total_at(self.columns, at)

    def remove(self, row: int) -> None:
        """Takes out one host that no longer passes."""
        at = int(np.searchsorted(self.rows, row))
        self.rows = np.delete(self.rows, at)
        if self.rows.size <= 1:
            self.columns = []
        for column in self.columns:
            column.remove(at)
        self.total = self._sum()

    def score_of(self, row: int) -> float:
        """Returns the score of one surviving host."""
        return float(self.total[np.searchsorted(self.rows, row)])

    def _own_columns(self) -> list[WeighedColumn]:
        """Returns the columns, their raw numbers copied at the first change: until then they may be the view's."""
        if not self._owned:
            for column in self.columns:
                column.raw = column.raw.copy()
            self._owned = True
        return self.columns


def _total_at(columns: list[WeighedColumn], at: int) -> float:
    total = 0.0
    for column in columns:
        if column.part is not None:
            total += float(column.part[at])
    return total


def multiplier_of(view: View, weigher: Weigher, default: float) -> float | Floats:
    """Returns the weigher's multiplier: the profile's number, or a column where aggregates set the option.

    Several aggregates: the smallest; a value that is no number: the profile's, as in Nova.
    """
    option = weigher.multiplier_option
    if option not in view.fleet.aggregate_keys or (weigher.off_at_zero and default == 0.0):
        return weigher.sign * default
    return weigher.sign * aggregate_numbers(view.fleet, option, default)
