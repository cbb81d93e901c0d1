# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the hosts that passed: the best, one of the best few, or any. Random choices come from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from berth.placement.model import GuestRequest
from berth.placement.profile import Profile
from berth.placement.scores import Scores


class Choice:
    """How one batch chooses. The same seed and the same input give the same choices.

    Without a seed the guests' UUIDs are the seed: different guests are spread, the same call is repeatable.
    """

    def __init__(self, profile: Profile, requests: Sequence[GuestRequest], seed: int | None) -> None:
        self._chance = profile.scheduler == "chance"
        self._subset = profile.host_subset_size
        self._shuffle = profile.shuffle_best_same_weighed_hosts
        self._random: np.random.Generator | None = None
        if self._chance or self._subset > 1 or self._shuffle:
            self._random = np.random.default_rng(_seed_of(requests) if seed is None else seed)

    def pick(self, scores: Scores) -> int:
        """Returns the row of the chosen host. There is at least one."""
        if self._random is None:
            return int(scores.rows[scores.total.argmax()])
        if self._chance:
            return int(self._random.choice(scores.rows))
        order = np.argsort(-scores.total, kind="stable")
        if self._shuffle:
            equal = self._random.permutation(np.flatnonzero(scores.total == scores.total.max()))
            order = np.concatenate((equal, order[equal.size :]))
        return int(scores.rows[self._random.choice(order[: self._subset])])

    def best_after(self, scores: Scores, taken: frozenset[int], count: int) -> list[int]:
        """Returns up to `count` further rows, best first, none of them in `taken`."""
        if count <= 0:
            return []
        if self._chance and self._random is not None:
            left = np.setdiff1d(scores.rows, list(taken))
            return [int(row) for row in self._random.choice(left, min(count, left.size), replace=False)]
        total = scores.total.copy()
        gone = [at for row in taken if (at := _position(scores, row)) is not None]
        total[gone] = -np.inf
        found: list[int] = []
        while len(found) < min(count, scores.rows.size - len(gone)):
            at = int(total.argmax())
            found.append(int(scores.rows[at]))
            total[at] = -np.inf
        return found


def _position(scores: Scores, row: int) -> int | None:
    at = int(np.searchsorted(scores.rows, row))
    return at if at < scores.rows.size and scores.rows[at] == row else None


def _seed_of(requests: Sequence[GuestRequest]) -> int:
    text = ",".join(request.uuid for request in requests)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
