# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from berth.placement.model import GuestOnHost, GuestRequest
from berth.placement.view import View
from berth.placement.weighers.base import Floats, Rows, Weigher


class ImagePropertiesWeigher(Weigher):
    """Weighs by the image properties that the guest shares with guests on the host: one each, per such guest.

    With the option `image_props_weight_setting` each property counts its ratio, and those not listed nothing.
    Default multiplier 0.0: off, also against an aggregate. Positive packs alike images, negative spreads them.
    """

    multiplier_option = "image_props_weight_multiplier"
    default_multiplier = 0.0
    off_at_zero = True

    def raw(self, view: View, request: GuestRequest, rows: Rows) -> Floats | None:
        """Returns the number of shared properties; None for a guest without any."""
        wanted = {(key, str(value)) for key, value in request.image_properties.items()}
        if not wanted:
            return None
        numbers = range(view.fleet.size) if isinstance(rows, slice) else rows
        return np.array([self._shared(view.guests(int(row)), wanted) for row in numbers], dtype=float)

    def _shared(self, guests: Iterable[GuestOnHost], wanted: set[tuple[str, str]]) -> float:
        have = Counter(
            pair
            for guest in guests
            for key, value in guest.image_properties.items()
            if (pair := (key, str(value))) in wanted
        )
        ratios = self.options.image_props_weight_setting
        return sum(count * (ratios.get(pair[0], 0.0) if ratios else 1.0) for pair, count in have.items())
