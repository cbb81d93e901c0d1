# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View


class IsolatedHostsFilter(Filter):
    """Keeps isolated images on isolated hosts (options `isolated_images`, `isolated_hosts`: names).

    With `restrict_isolated_hosts_to_isolated_images` (default) other images stay off those hosts too; also when
    no image is listed. A guest without an image counts as not isolated.
    Reason: "isolated for other images", "not isolated, as the image must be".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows for such an image."""
        options = self.options
        restrict = options.restrict_isolated_hosts_to_isolated_images
        image = bool(request.image) and request.image in options.isolated_images
        if not image and not restrict:
            return None
        isolated = np.zeros(view.fleet.size, dtype=bool)
        isolated[[view.fleet.row_of[name] for name in options.isolated_hosts if name in view.fleet.row_of]] = True
        mask: Mask = isolated[rows] == image
        return mask

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns which way it is isolated."""
        if view.fleet.names[row] in self.options.isolated_hosts:
            return (Reason(Code.ISOLATED, "isolated for other images", "isolated", request.image),)
        return (Reason(Code.ISOLATED, "not isolated, as the image must be", "not isolated", request.image),)
