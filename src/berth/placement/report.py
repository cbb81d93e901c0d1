# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of one choice: each host refused, by which filter and why, or weighed, with each weigher's share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from berth.placement.reasons import Refusal


@dataclass(frozen=True, slots=True)
class Share:
    """One weigher's share of one host's score: multiplier * normalised."""

    weigher: str
    raw: float
    normalised: float
    multiplier: float

    @property
    def score(self) -> float:
        """Returns what the weigher adds."""
        return self.multiplier * self.normalised

    def to_dict(self) -> dict[str, Any]:
        """Returns the share as JSON-ready data."""
        return {
            "weigher": self.weigher,
            "raw": self.raw,
            "normalised": self.normalised,
            "multiplier": self.multiplier,
            "score": self.score,
        }


@dataclass(frozen=True, slots=True)
class Weighed:
    """One host that passed, with its score and what it is made of."""

    host: str
    score: float
    shares: tuple[Share, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the host as JSON-ready data."""
        return {"host": self.host, "score": self.score, "weighers": [share.to_dict() for share in self.shares]}


@dataclass(frozen=True, slots=True)
class Stage:
    """How many hosts one filter was asked about and how many it left."""

    filter: str
    before: int
    after: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the stage as JSON-ready data."""
        return {"filter": self.filter, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class Report:
    """Why one guest got its host, or none. Every host of the fleet is in `refused` or in `weighed`.

    `refused` is in the order of the hosts' names, `weighed` best first. `hints` say what would help.
    """

    guest: str
    hosts: int
    refused: tuple[Refusal, ...]
    weighed: tuple[Weighed, ...]
    stages: tuple[Stage, ...]
    chosen: str | None = None
    alternates: tuple[str, ...] = ()
    hints: tuple[str, ...] = field(default=())

    @property
    def totals(self) -> dict[str, int]:
        """Returns how many hosts were refused for each reason, the most frequent first."""
        counts = Counter(str(reason.code) for refusal in self.refused for reason in refusal.reasons)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def summary(self) -> str:
        """Returns the outcome in one sentence."""
        if self.chosen is not None:
            return f"guest {self.guest}: host {self.chosen}, the best of {len(self.weighed)} of {self.hosts}"
        if not self.hosts:
            return f"guest {self.guest}: there are no hosts"
        if self.weighed:
            return f"guest {self.guest}: {len(self.weighed)} of {self.hosts} hosts can take it"
        why = ", ".join(f"{code} {count}" for code, count in self.totals.items())
        return f"guest {self.guest}: none of {self.hosts} hosts can take it ({why})"

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-ready data."""
        return {
            "guest": self.guest,
            "hosts": self.hosts,
            "chosen": self.chosen,
            "alternates": list(self.alternates),
            "totals": self.totals,
            "stages": [stage.to_dict() for stage in self.stages],
            "refused": [refusal.to_dict() for refusal in self.refused],
            "weighed": [weighed.to_dict() for weighed in self.weighed],
            "hints": list(self.hints),
        }

    def lines(self) -> list[str]:
        """Returns the report for a person: one line per host, then the totals and what would help."""
        lines = [f"{refusal.host}: {refusal.filter}: {refusal.text}" for refusal in self.refused]
        for place, weighed in enumerate(self.weighed, start=1):
            parts = " + ".join(
                f"{share.weigher} {share.multiplier:g} x {share.normalised:.3f} ({share.raw:g})"
                for share in weighed.shares
            )
            lines.append(f"{weighed.host}: {place}. {weighed.score:.3f}" + (f" = {parts}" if parts else ""))
        lines.append(self.summary)
        lines.extend(self.hints)
        return lines
