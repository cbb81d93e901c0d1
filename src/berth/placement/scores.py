# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of the hosts that passed, kept up to date one row at a time.

score(host) = sum over the weighers, in the profile's order, of multiplier(host) * normalised(raw(host));
normalised = (raw - lo) / (hi - lo) over the hosts that passed, 0 where lo == hi. With fewer than two hosts
no weigher runs and the score is 0. Source: nova/weights.py of release 34.0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from berth.errors import InvalidInput
from berth.placement.aggregates import aggregate_numbers
from berth.placement.filters.base import Reads
from berth.placement.fleet import ALL, Floats, Mask
from berth.placement.model import GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Weigher

RowNumbers = npt.NDArray[np.intp]


class WeighedColumn:
    """One weigher's share of the score, over the hosts that passed. `part` is None while it decides nothing."""

    __slots__ = ("_host_at", "hi", "lo", "multiplier", "part", "raw", "weigher")

    def __init__(
        self, weigher: Weigher, raw: Floats, multiplier: float | Floats, host_at: Callable[[int], str]
    ) -> None:
        self.weigher = weigher
        self._host_at = host_at
        self.raw = self._clamped(raw)
        self.multiplier = multiplier
        self.part: Floats | None = None
        self.lo, self.hi = self._bounds()
        self._rescale()

    def _clamped(self, raw: Floats) -> Floats:
        raw = np.asarray(raw, dtype=np.float64)  # in whole numbers a share of one would be lost
        low, high = self.weigher.minval, self.weigher.maxval
        if low is not None:
            raw = np.maximum(raw, low)
        return raw if high is None else np.minimum(raw, high)

    def _bounds(self) -> tuple[float, float]:
        weigher = self.weigher
        lo = float(self.raw.min() if weigher.minval is None else weigher.minval)
        hi = float(self.raw.max() if weigher.maxval is None else weigher.maxval)
        given = weigher.minval is not None and weigher.maxval is not None  # then they say nothing about the numbers
        if not math.isfinite(hi - lo) or (given and not np.isfinite(self.raw).all()):
            raise self._no_number(lo, hi)
        return lo, hi

    def _no_number(self, lo: float, hi: float) -> InvalidInput:
        """Returns the error for what cannot be normalised: no host would be better than another, or the wrong one."""
        bad = np.flatnonzero(~np.isfinite(self.raw))
        found = f"{self.raw[bad[0]]} for host {self._host_at(int(bad[0]))}" if bad.size else f"{lo} to {hi}"
        return InvalidInput(
            f"weigher {self.weigher.name}: found {found}, allowed: finite numbers",
            hint="mend the plug-in or the numbers that it reads, or leave it out of the profile",
        )

    @property
    def normalised(self) -> Floats:
        """Returns each host's number between 0 and 1."""
        if self.lo == self.hi:
            return np.zeros(self.raw.size)
        return np.asarray((self.raw - self.lo) / (self.hi - self.lo))

    def _rescale(self) -> None:
        if self.lo == self.hi:
            self.part = None
            return
        self.part = np.subtract(self.raw, self.lo, out=self.part)
        np.divide(self.part, self.hi - self.lo, out=self.part)
        if not isinstance(self.multiplier, float) or self.multiplier != 1.0:
            np.multiply(self.part, self.multiplier, out=self.part)

    def set_raw(self, at: RowNumbers, raw: Floats) -> bool:
        """Sets some hosts' raw numbers. Returns whether the bounds moved, and so every host's share with them.

        Raises InvalidInput for a number that is not finite.
        """
        new, old = self._clamped(raw), self.raw[at]
        self.raw[at] = new
        lo, hi = self.lo, self.hi
        # Said so that a number that is none is not between them.
        if not bool(((lo < old) & (old < hi) & (lo <= new) & (new <= hi)).all()):
            self.lo, self.hi = self._bounds()
            if (self.lo, self.hi) != (lo, hi):
                self._rescale()
                return True
        if self.part is not None:
            multiplier = self.multiplier if isinstance(self.multiplier, float) else self.multiplier[at]
            self.part[at] = (new - lo) / (hi - lo) * multiplier
        return False

    def remove(self, at: RowNumbers, kept: Mask) -> None:
        """Takes some hosts out (`kept` are the others), and normalises again where they were at the bounds."""
        gone = self.raw[at]
        self.raw = self.raw[kept]
        if not isinstance(self.multiplier, float):
            self.multiplier = self.multiplier[kept]
        lo, hi = self.lo, self.hi
        if bool(((gone == hi) | (gone == lo)).any()):
            self.lo, self.hi = self._bounds()
        if (self.lo, self.hi) != (lo, hi):
            self.part = None
            self._rescale()
        elif self.part is not None:
            self.part = self.part[kept]


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
                    self.columns.append(WeighedColumn(weigher, raw, multiplier, self._host_at))
        self._owned = False
        self.total = self._sum()

    def _host_at(self, at: int) -> str:
        return self.view.fleet.names[int(self.rows[at])]

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

    def update(self, rows: RowNumbers) -> None:
        """Weighs some surviving hosts again after bookings on them."""
        if not rows.size or not self.columns:
            return
        at = np.searchsorted(self.rows, rows)
        moved = False
        for column in self._own_columns():
            if column.weigher.reads == Reads.FACTS:
                continue
            raw = column.weigher.raw(self.view, self.request, rows)
            if raw is not None:
                moved |= column.set_raw(at, raw)
        if moved:
            self.total = self._sum()
        else:
            self.total[at] = self._sum_at(at)

    def remove(self, rows: RowNumbers) -> None:
        """Takes out hosts that no longer pass."""
        if not rows.size:
            return
        at = np.searchsorted(self.rows, rows)
        kept = np.ones(self.rows.size, dtype=bool)
        kept[at] = False
        self.rows = self.rows[kept]
        if self.rows.size <= 1:
            self.columns = []
        before = [(column.lo, column.hi) for column in self.columns]
        for column in self.columns:
            column.remove(at, kept)
        moved = before != [(column.lo, column.hi) for column in self.columns]
        self.total = self._sum() if moved or not self.columns else self.total[kept]

    def _sum_at(self, at: RowNumbers) -> Floats:
        """Returns the scores of some hosts, added up in the same order as all of them are."""
        total = np.zeros(at.size)
        for column in self.columns:
            if column.part is not None:
                total += column.part[at]
        return total

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


def multiplier_of(view: View, weigher: Weigher, default: float) -> float | Floats:
    """Returns the weigher's multiplier: the profile's number, or a column where aggregates set the option.

    Several aggregates: the smallest; a value that is no number: the profile's, as in Nova.
    """
    option = weigher.multiplier_option
    if option not in view.fleet.aggregate_keys or (weigher.off_at_zero and default == 0.0):
        return weigher.sign * default
    return weigher.sign * aggregate_numbers(view.fleet, option, default)
