# SPDX-License-Identifier: GPL-3.0-or-later
"""Which filters and weighers there are: one explicit line each. Plug-ins come in through Registry.extended()."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from berth.errors import InvalidInput, Problem
from berth.placement.filters.aggregate_core import AggregateCoreFilter
from berth.placement.filters.aggregate_disk import AggregateDiskFilter
from berth.placement.filters.aggregate_image_properties import AggregateImagePropertiesIsolation
from berth.placement.filters.aggregate_instance_extra_specs import AggregateInstanceExtraSpecsFilter
from berth.placement.filters.aggregate_io_ops import AggregateIoOpsFilter
from berth.placement.filters.aggregate_multi_tenancy import AggregateMultiTenancyIsolation
from berth.placement.filters.aggregate_num_instances import AggregateNumInstancesFilter
from berth.placement.filters.aggregate_ram import AggregateRamFilter
from berth.placement.filters.aggregate_type_affinity import AggregateTypeAffinityFilter
from berth.placement.filters.all_hosts import AllHostsFilter
from berth.placement.filters.availability_zone import AvailabilityZoneFilter
from berth.placement.filters.base import Filter
from berth.placement.filters.compute import ComputeFilter
from berth.placement.filters.compute_capabilities import ComputeCapabilitiesFilter
from berth.placement.filters.core import CoreFilter
from berth.placement.filters.different_host import DifferentHostFilter
from berth.placement.filters.disk import DiskFilter
from berth.placement.filters.group_affinity import ServerGroupAffinityFilter
from berth.placement.filters.group_anti_affinity import ServerGroupAntiAffinityFilter
from berth.placement.filters.image_properties import ImagePropertiesFilter
from berth.placement.filters.io_ops import IoOpsFilter
from berth.placement.filters.isolated_hosts import IsolatedHostsFilter
from berth.placement.filters.json_query import JsonFilter
from berth.placement.filters.metrics import MetricsFilter
from berth.placement.filters.named_hosts import NamedHosts
from berth.placement.filters.num_instances import NumInstancesFilter
from berth.placement.filters.numa_topology import NUMATopologyFilter
from berth.placement.filters.pci_passthrough import PciPassthroughFilter
from berth.placement.filters.ram import RamFilter
from berth.placement.filters.resources import Resources
from berth.placement.filters.retry import RetryFilter
from berth.placement.filters.same_host import SameHostFilter
from berth.placement.filters.simple_cidr_affinity import SimpleCIDRAffinityFilter
from berth.placement.filters.traits import Traits
from berth.placement.filters.type_affinity import TypeAffinityFilter
from berth.placement.plugins import class_problems, guarded
from berth.placement.weighers.base import Weigher
from berth.placement.weighers.build_failure import BuildFailureWeigher
from berth.placement.weighers.cpu import CPUWeigher
from berth.placement.weighers.cross_cell import CrossCellWeigher
from berth.placement.weighers.disk import DiskWeigher
from berth.placement.weighers.hypervisor_version import HypervisorVersionWeigher
from berth.placement.weighers.image_properties import ImagePropertiesWeigher
from berth.placement.weighers.io_ops import IoOpsWeigher
from berth.placement.weighers.metrics import MetricsWeigher
from berth.placement.weighers.num_instances import NumInstancesWeigher
from berth.placement.weighers.pci import PCIWeigher
from berth.placement.weighers.ram import RAMWeigher
from berth.placement.weighers.soft_affinity import ServerGroupSoftAffinityWeigher
from berth.placement.weighers.soft_anti_affinity import ServerGroupSoftAntiAffinityWeigher

# Always on, in this order: FIRST before what a profile lists, LAST after it. A forced host meets only these.
FIRST: tuple[type[Filter], ...] = (NamedHosts, ComputeFilter, Resources, Traits)
LAST: tuple[type[Filter], ...] = (NUMATopologyFilter, PciPassthroughFilter)

FILTERS: tuple[type[Filter], ...] = (
    AggregateCoreFilter,
    AggregateDiskFilter,
    AggregateImagePropertiesIsolation,
    AggregateInstanceExtraSpecsFilter,
    AggregateIoOpsFilter,
    AggregateMultiTenancyIsolation,
    AggregateNumInstancesFilter,
    AggregateRamFilter,
    AggregateTypeAffinityFilter,
    AllHostsFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    ComputeCapabilitiesFilter,
    CoreFilter,
    DifferentHostFilter,
    DiskFilter,
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
    ImagePropertiesFilter,
    IoOpsFilter,
    IsolatedHostsFilter,
    JsonFilter,
    MetricsFilter,
    NumInstancesFilter,
    NUMATopologyFilter,
    PciPassthroughFilter,
    RamFilter,
    RetryFilter,
    SameHostFilter,
    SimpleCIDRAffinityFilter,
    TypeAffinityFilter,
)

WEIGHERS: tuple[type[Weigher], ...] = (
    RAMWeigher,
    CPUWeigher,
    DiskWeigher,
    IoOpsWeigher,
    NumInstancesWeigher,
    HypervisorVersionWeigher,
    PCIWeigher,
    BuildFailureWeigher,
    ServerGroupSoftAffinityWeigher,
    ServerGroupSoftAntiAffinityWeigher,
    MetricsWeigher,
    ImagePropertiesWeigher,
    CrossCellWeigher,
)


@dataclass(frozen=True)
class Registry:
    """The filters and weighers that a profile may name, by name."""

    filters: Mapping[str, type[Filter]]
    weighers: Mapping[str, type[Weigher]]

    def extended(self, plugins: Iterable[type[Filter] | type[Weigher]]) -> Registry:
        """Returns a registry with the plug-ins added, each under guard: its mistakes are told under its name.

        Raises InvalidInput for each class that is neither a Filter nor a Weigher, that lacks what it needs, or
        whose name is taken.
        """
        filters, weighers = dict(self.filters), dict(self.weighers)
        problems: list[Problem] = []
        for plugin in plugins:
            where = f"plug-in {getattr(plugin, '__qualname__', plugin)!s}"
            if not isinstance(plugin, type) or not issubclass(plugin, (Filter, Weigher)):
                problems.append(Problem(where, "must be a subclass of berth.placement.Filter or Weigher"))
                continue
            problems.extend(Problem(where, text) for text in class_problems(plugin))
            if plugin.__name__ in filters or plugin.__name__ in weighers:
                problems.append(Problem(where, f"the name {plugin.__name__} is taken; give the class another"))
            elif issubclass(plugin, Filter):
                filters[plugin.__name__] = guarded(plugin)
            else:
                weighers[plugin.__name__] = guarded(plugin)
        if problems:
            raise InvalidInput.from_problems("placement plug-ins", problems)
        return Registry(filters, weighers)


BUILT_IN = Registry(
    filters={kind.__name__: kind for kind in FILTERS},
    weighers={kind.__name__: kind for kind in WEIGHERS},
)
# Berth's own classes. Whatever else a pipeline holds is a plug-in, and may read more of a request.
OWN: frozenset[type] = frozenset((*FIRST, *FILTERS, *LAST, *WEIGHERS))
