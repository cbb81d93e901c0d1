# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Mapping

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_KNOWN = ("hw_", "img_", "os_")

Metadata = Mapping[str, frozenset[str]]


class AggregateImagePropertiesIsolation(Filter):
    """Passes hosts whose aggregates' merged metadata allows the image's properties.

    A metadata key that is a known image property (`hw_`, `img_`, `os_`) and is set in the image must have the
    image's value among its comma-separated values. What the image does not set passes, and so does a host
    without aggregates. Reason: "aggregates allow KEY = VALUES, the image has VALUE".
    """

    reads = Reads.FACTS

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that allow the image."""
        properties = request.image_properties
        if not properties or view.fleet.aggregate_keys.isdisjoint(properties):
            return None
        return view.fleet.aggregate_metadata().where(lambda merged: not list(self._wrong(merged, properties)), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns each property that is not allowed."""
        metadata = view.fleet.aggregate_metadata()
        found = []
        for key, have in self._wrong(metadata.values[metadata.codes[row]], request.image_properties):
            allowed, value = ", ".join(sorted(have)), str(request.image_properties[key])
            text = f"aggregates allow {key} = {allowed}, the image has {value}"
            found.append(Reason(Code.AGGREGATE, text, allowed, value))
        return tuple(found)

    def _wrong(self, merged: Metadata, properties: Mapping[str, object]) -> Iterator[tuple[str, frozenset[str]]]:
        namespace = self.options.aggregate_image_properties_isolation_namespace
        prefix = f"{namespace}{self.options.aggregate_image_properties_isolation_separator}" if namespace else ""
        for key, values in merged.items():
            value = properties.get(key)
            if key.startswith(prefix) and key.startswith(_KNOWN) and value and str(value) not in values:
                yield key, values
