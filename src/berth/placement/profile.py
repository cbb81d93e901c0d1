# SPDX-License-Identifier: GPL-3.0-or-later
"""A profile: which filters and weighers decide, with which multipliers and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from berth.placement.filters.base import Filter
from berth.placement.filters.retry import RetryFilter
from berth.placement.pci import PciAlias
from berth.placement.registry import BUILT_IN, FIRST, LAST, OWN, Registry
from berth.placement.weighers.base import Weigher

# Nova keeps a failed guest off the hosts it tried whatever the filters are: its alternates name others only.
_FIRST: tuple[type[Filter], ...] = (*FIRST, RetryFilter)

DAY_S = 24 * 3600.0

DEFAULT_FILTERS = (
    "ComputeFilter",
    "AvailabilityZoneFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "RetryFilter",
    "DifferentHostFilter",
    "SameHostFilter",
    "SimpleCIDRAffinityFilter",
    "JsonFilter",
)


@dataclass(frozen=True)
class Options:
    """What filters and weighers may be told; the names and defaults are Nova's where Nova has the option.

    `plugin_options` holds what plug-ins are told, by whatever names they read.
    """

    facts_max_age_s: float = DAY_S
    default_availability_zone: str = "nova"
    max_io_ops_per_host: int = 8
    max_instances_per_host: int = 50
    isolated_hosts: tuple[str, ...] = ()
    isolated_images: tuple[str, ...] = ()
    restrict_isolated_hosts_to_isolated_images: bool = True
    aggregate_image_properties_isolation_namespace: str = ""
    aggregate_image_properties_isolation_separator: str = "."
    image_properties_default_architecture: str = ""
    metrics_weight_setting: Mapping[str, float] = field(default_factory=dict)
    metrics_required: bool = True
    metrics_weight_of_unavailable: float = -10000.0
    image_props_weight_setting: Mapping[str, float] = field(default_factory=dict)
    pci_aliases: Mapping[str, PciAlias] = field(default_factory=dict)
    plugin_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """The filters and weighers of one profile, made once. A forced host meets `forced` only."""

    filters: tuple[Filter, ...]
    forced: tuple[Filter, ...]
    weighers: tuple[tuple[Weigher, float], ...]

    @cached_property
    def has_plugins(self) -> bool:
        """Returns whether any filter or weigher is not Berth's own."""
        return any(type(part) not in OWN for part in (*self.filters, *(weigher for weigher, _ in self.weighers)))


@dataclass(frozen=True)
class Profile:
    """Which filters and weighers decide, in which order, and how the choice is made.

    `multipliers` maps a weigher's option name to its number. `max_attempts` - 1 alternates are named per
    guest. `scheduler` is `filter`, or `chance` for a random host among those that pass.
    """

    name: str = "default"
    filters: tuple[str, ...] = DEFAULT_FILTERS
    weighers: tuple[str, ...] = tuple(BUILT_IN.weighers)
    multipliers: Mapping[str, float] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    scheduler: str = "filter"
    host_subset_size: int = 1
    shuffle_best_same_weighed_hosts: bool = False
    max_attempts: int = 3
    registry: Registry = field(default=BUILT_IN, repr=False, compare=False)

    @cached_property
    def pipeline(self) -> Pipeline:
        """Returns the filters and weighers, made with this profile's options."""
        first, last = (tuple(kind(self.options) for kind in kinds) for kinds in (_FIRST, LAST))
        names = list(self.filters)
        if self.options.metrics_required and self.options.metrics_weight_setting and "MetricsWeigher" in self.weighers:
            names.append("MetricsFilter")
        always = {kind.__name__ for kind in (*_FIRST, *LAST)}
        listed = [self.registry.filters[name](self.options) for name in dict.fromkeys(names) if name not in always]
        weighers = [self.registry.weighers[name](self.options) for name in self.weighers]
        numbers = self.multipliers
        return Pipeline(
            filters=(*first, *listed, *last),
            forced=(*first, *last),
            weighers=tuple((w, float(numbers.get(w.multiplier_option, w.default_multiplier))) for w in weighers),
        )

    def with_options(self, **changes: Any) -> Profile:
        """Returns the same profile with some options changed."""
        return replace(self, options=replace(self.options, **changes))
