# SPDX-License-Identifier: GPL-3.0-or-later
"""Which filters and weighers there are: one explicit line each. Plug-ins come in through Registry.extended()."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from berth.errors import InvalidInput, Problem
from berth.placement.filters.availability_zone import AvailabilityZoneFilter
from berth.placement.filters.base import Filter
from berth.placement.filters.compute import ComputeFilter
from berth.placement.filters.group_affinity import ServerGroupAffinityFilter
from berth.placement.filters.group_anti_affinity import ServerGroupAntiAffinityFilter
from berth.placement.filters.named_hosts import NamedHosts
from berth.placement.filters.resources import Resources
from berth.placement.weighers.base import Weigher
from berth.placement.weighers.cpu import CPUWeigher
from berth.placement.weighers.disk import DiskWeigher
from berth.placement.weighers.ram import RAMWeigher

# Always on, in this order, before what a profile lists; a forced host meets only these.
FIRST: tuple[type[Filter], ...] = (NamedHosts, ComputeFilter, Resources)

FILTERS: tuple[type[Filter], ...] = (
    ComputeFilter,
    AvailabilityZoneFilter,
    ServerGroupAntiAffinityFilter,
    ServerGroupAffinityFilter,
)

WEIGHERS: tuple[type[Weigher], ...] = (
    RAMWeigher,
    CPUWeigher,
    DiskWeigher,
)


@dataclass(frozen=True)
class Registry:
    """The filters and weighers that a profile may name, by name."""

    filters: Mapping[str, type[Filter]]
    weighers: Mapping[str, type[Weigher]]

    def extended(self, plugins: Iterable[type[Filter] | type[Weigher]]) -> Registry:
        """Returns a registry with the plug-ins added.

        Raises InvalidInput for each class that is neither a Filter nor a Weigher, or whose name is taken.
        """
        filters, weighers = dict(self.filters), dict(self.weighers)
        problems = []
        for plugin in plugins:
            where = f"plug-in {getattr(plugin, '__qualname__', plugin)!s}"
            if not isinstance(plugin, type) or not issubclass(plugin, (Filter, Weigher)):
                problems.append(Problem(where, "must be a subclass of berth.placement.Filter or Weigher"))
            elif plugin.__name__ in filters or plugin.__name__ in weighers:
                problems.append(Problem(where, f"the name {plugin.__name__} is taken; give the class another"))
            elif issubclass(plugin, Filter):
                filters[plugin.__name__] = plugin
            else:
                weighers[plugin.__name__] = plugin
        if problems:
            raise InvalidInput.from_problems("placement plug-ins", problems)
        return Registry(filters, weighers)


BUILT_IN = Registry(
    filters={kind.__name__: kind for kind in FILTERS},
    weighers={kind.__name__: kind for kind in WEIGHERS},
)
