# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest
from berth.placement.reasons import Code, Reason
from berth.placement.view import View

_SCOPE = "trait:"
_WORDS = ("required", "forbidden")


class Traits(Filter):
    """Passes hosts with the traits that extra specs `trait:NAME=required` ask for and none that are `forbidden`.

    Always on: Nova asks its placement service. Reason: "has no trait NAME", "has the forbidden trait NAME".
    """

    reads = Reads.FACTS

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns the traits that are neither required nor forbidden."""
        wrong = (
            (key, word) for key, word in request.extra_specs.items() if key.startswith(_SCOPE) and word not in _WORDS
        )
        return tuple(f"extra spec {key}: found {word!r}, allowed: {', '.join(_WORDS)}" for key, word in wrong)

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows with the right traits."""
        if not request.extra_specs:
            return None
        required, forbidden = _wanted(request)
        if not required and not forbidden:
            return None
        column = view.fleet.coded("traits", lambda host: host.traits)
        return column.where(lambda traits: required <= traits and not forbidden & traits, rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns each trait that is missing or too many."""
        required, forbidden = _wanted(request)
        traits = view.fleet.hosts[row].traits
        missing = (Reason(Code.TRAIT, f"has no trait {name}", None, name) for name in sorted(required - traits))
        wrong = (Reason(Code.TRAIT, f"has the forbidden trait {n}", n, None) for n in sorted(forbidden & traits))
        return (*missing, *wrong)


def _wanted(request: GuestRequest) -> tuple[frozenset[str], frozenset[str]]:
    specs = [(key.removeprefix(_SCOPE), word) for key, word in request.extra_specs.items() if key.startswith(_SCOPE)]
    required = frozenset(name for name, word in specs if word == "required")
    return required, frozenset(name for name, word in specs if word == "forbidden")
