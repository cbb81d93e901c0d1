# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host was refused: typed, with the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """The closed set of reasons. A plug-in's own reasons are `plugin`."""

    NO_FACTS = "no_facts"
    STALE_FACTS = "stale_facts"
    BAD_FACTS = "bad_facts"
    DISABLED = "disabled"
    QUARANTINED = "quarantined"
    UNREACHABLE = "unreachable"
    VCPUS = "vcpus"
    MEMORY = "memory"
    DISK = "disk"
    IGNORED = "ignored"
    NOT_FORCED = "not_forced"
    NOT_DESTINATION = "not_destination"
    TRIED = "tried"
    ZONE = "zone"
    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti_affinity"
    DIFFERENT_HOST = "different_host"
    SAME_HOST = "same_host"
    ADDRESS = "address"
    QUERY = "query"
    IO_OPS = "io_ops"
    GUESTS = "guests"
    CAPABILITY = "capability"
    IMAGE = "image"
    AGGREGATE = "aggregate"
    TENANT = "tenant"
    FLAVOR = "flavor"
    ISOLATED = "isolated"
    METRIC = "metric"
    NUMA = "numa"
    PAGES = "pages"
    PCI = "pci"
    TRAIT = "trait"
    PLUGIN = "plugin"


Value = int | float | str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `have` and `need` are amounts in `unit`, or words where there is nothing to count."""

    code: Code
    text: str
    have: Value = None
    need: Value = None
    unit: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the reason as JSON-ready data."""
        return {"code": str(self.code), "text": self.text, "have": self.have, "need": self.need, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused host: the first filter that refused it, and all that this filter found."""

    host: str
    filter: str
    reasons: tuple[Reason, ...]

    @property
    def text(self) -> str:
        """Returns the reasons in one line."""
        return "; ".join(reason.text for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Returns the refusal as JSON-ready data."""
        return {"host": self.host, "filter": self.filter, "reasons": [reason.to_dict() for reason in self.reasons]}
