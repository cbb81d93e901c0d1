# SPDX-License-Identifier: GPL-3.0-or-later
"""Random hosts and requests, with something of everything that filters and weighers read.

Each host and each request comes from a seed of its own, which costs a hundredth of drawing every number: fewer of them
are the same ones, which is all that a failure has to be shrunk by.
"""

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from berth.placement import (
    Aggregate,
    CellPins,
    GuestOnHost,
    GuestRequest,
    Host,
    Options,
    Pins,
    Policy,
    Profile,
    ServerGroup,
)
from berth.placement.devices import NumaCell, PagePool, PciDevice
from berth.placement.pci import PciAlias
from berth.placement.registry import BUILT_IN

OPTIONS = Options(
    isolated_hosts=("c1",),
    isolated_images=("special",),
    metrics_required=False,
    metrics_weight_setting={"heat": 1.5, "noise": -0.5},
    pci_aliases={"gpu": PciAlias("gpu", "10de", "1eb8")},
)
EVERYTHING = Profile(
    filters=tuple(BUILT_IN.filters),
    multipliers={"num_instances_weight_multiplier": -0.5, "image_props_weight_multiplier": 0.3},
    options=OPTIONS,
)
# These refuse most of the hosts below, and would hide what the others do.
SELDOM = ("MetricsFilter", "TypeAffinityFilter", "AggregateInstanceExtraSpecsFilter")
MOST = replace(EVERYTHING, filters=tuple(name for name in EVERYTHING.filters if name not in SELDOM))
DEFAULT = Profile(options=OPTIONS)
PROFILES = st.sampled_from([EVERYTHING, MOST, MOST, DEFAULT])

METADATA = [
    {},
    {"availability_zone": "a"},
    {"ssd": "true", "ram_weight_multiplier": "-2.5"},
    {"max_io_ops_per_host": "3", "cpu_allocation_ratio": "2.0"},
    {"filter_tenant_id": "lab", "instance_type": "small,large"},
    {"os_distro": "debian,fedora", "pci_weight_multiplier": "3"},
]
AGGREGATES = [Aggregate(f"g{number}", metadata) for number, metadata in enumerate(METADATA)]

PAGES = (PagePool(4, 1048576), PagePool(2048, 1024, 16))
CELLS = tuple(
    NumaCell(
        id=cell,
        memory_mib=8192,
        shared_cpus=frozenset(range(8 * cell, 8 * cell + 4)),
        dedicated_cpus=frozenset(range(8 * cell + 4, 8 * cell + 8)),
        siblings=tuple(frozenset((cpu, cpu + 1)) for cpu in range(8 * cell, 8 * cell + 8, 2)),
        pages=PAGES,
        socket=cell,
    )
    for cell in (0, 1)
)
DEVICES = tuple(PciDevice(f"0000:0{n}:00.0", "10de", "1eb8", node) for n, node in enumerate((0, 1, None)))
HELD = (
    Pins(),
    Pins(pci_addresses=(DEVICES[0].address,)),
    Pins((CellPins(0, 0, 1024, (0, 1), {0: 4, 1: 5}, page_size_kib=2048),)),
)
PROPERTIES = ({}, {}, {}, {"hw_architecture": "x86_64"}, {"os_distro": "debian"}, {"os_distro": "arch"})
WISHES = (
    *({"group": policy} for policy in Policy for _ in range(3)),
    {"extra_specs": {"ssd": "true"}},
    {"extra_specs": {"vcpus_total": ">= 2"}},
    {"extra_specs": {"num_instances": "<= 3"}},
    {"extra_specs": {"trait:HW_FAST": "required"}},
    {"extra_specs": {"trait:HW_FAST": "forbidden"}},
    {"extra_specs": {"hw:numa_nodes": "1"}},
    {"extra_specs": {"hw:cpu_policy": "dedicated"}},
    {"extra_specs": {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"}},
    {"extra_specs": {"hw:mem_page_size": "large"}},
    {"extra_specs": {"pci_passthrough:alias": "gpu:1"}},
    {"extra_specs": {"pci_passthrough:alias": "gpu:1", "hw:numa_nodes": "1"}},
    {"hints": {"different_host": "new-0"}},
    {"hints": {"different_host": ["new-0", "new-1", "u0-0", "u1-0"]}},
    {"hints": {"different_host": "new-1"}},
    {"hints": {"same_host": "new-0"}},
    {"hints": {"same_host": ["u0-0", "u1-0", "new-1"]}},
    {"hints": {"different_host": "new-1", "same_host": ["new-0", "u2-0"]}},
    {"hints": {"query": ["<", "$num_instances", 3]}},
    {"hints": {"query": ["or", [">=", "$free_ram_mb", 2048], ["=", "$host", "c0"]]}},
    {"hints": {"build_near_host_ip": "10.0.0.9", "cidr": "/23"}},
    {"hints": {"build_near_host_ip": "fd00::", "cidr": "/64"}},
    {"availability_zone": "a"},
    {"ignore_hosts": ("C1",)},
    {"tried_hosts": ("c0",)},
    {"current_host": "c0"},
    {"current_host": "c0", "group": Policy.ANTI_AFFINITY},
    {"force_host": "C0"},
    {"destination": "c0"},
    {"image": "special"},
    {"project": "lab"},
)
SEEDS = st.integers(0, 2**32)


@st.composite
def hosts(draw, least=0, most=8):
    """Returns hosts named c0, c1, ... with guests named u<host>-<number>."""
    seed = draw(SEEDS)
    return [_host(Random(f"host {seed} {number}"), number) for number in range(draw(st.integers(least, most)))]


@st.composite
def requests(draw, most=6):
    """Returns guests new-0, new-1, ...; some name each other in their hints."""
    seed = draw(SEEDS)
    groups = _groups(Random(f"groups {seed}"))
    count = draw(st.integers(1, most))
    return [_request(Random(f"request {seed} {number}"), number, groups) for number in range(count)]


@st.composite
def batches(draw, kinds=4, most=12):
    """Returns guests new-0, new-1, ... of a few kinds, in turn: what a batch computes once per kind."""
    asked = draw(requests(kinds))
    count = draw(st.integers(len(asked), most))
    return [replace(asked[n % len(asked)], uuid=f"new-{n}", name=f"new-{n}") for n in range(count)]


def _host(dice, number):
    roomy = dice.random() < 0.8
    return Host(
        name=f"c{number}",
        enabled=dice.random() > 0.03,
        reachable=dice.random() > 0.03,
        quarantined="split" if dice.random() < 0.03 else "",
        facts_at=dice.choice([0.0] * 38 + [-1e9, None]),
        vcpus_total=dice.randint(8, 16) if roomy else dice.randint(0, 8),
        memory_mib_total=dice.randint(8192, 16384) if roomy else dice.randint(0, 8192),
        disk_mib_total=dice.randint(32768, 65536) if roomy else dice.randint(0, 32768),
        vcpus_used=dice.randint(0, 6),
        memory_mib_used=dice.randint(0, 2048),
        disk_mib_used=dice.choice([0, 0, 10240]),
        disk_free_mib_measured=dice.choice([None, None, None, 0, 4096, 40000]),
        cpu_allocation_ratio=dice.choice([0.5, 1.0, 1.1, 4.0]),
        ram_allocation_ratio=dice.choice([1.0, 1.5]),
        disk_allocation_ratio=dice.choice([1.0, 1.5]),
        reserved_host_cpus=dice.choice([0, 0, 1]),
        availability_zone=dice.choice([None, "a", "a", "b"]),
        aggregates=tuple(dice.sample(AGGREGATES, dice.choice([0, 0, 1, 2]))),
        facts={"architecture": "x86_64", "cpu": {"sockets": dice.randint(1, 2)}},
        address=dice.choice(["", "10.0.0.7", "10.0.0.8", "10.0.1.7", "fd00::7"]),
        guests=tuple(_guest(dice, f"u{number}-{n}", HELD if n == 0 else HELD[:1]) for n in range(dice.randint(0, 3))),
        num_io_ops=dice.choice([0, 0, 0, 1, 1, 2, 6, 9]),
        failed_builds=dice.choice([0, 0, 0.5, 2]),
        metrics=dice.choice([{}, {"heat": 1.0}, {"heat": 2.0}, {"heat": -2.5, "noise": 0.5}]),
        hypervisor_version=dice.choice([None, 7002000, 10000000]),
        supported_instances=(("x86_64", dice.choice(["kvm", "kvm", "qemu"]), "hvm"),),
        traits=dice.choice([frozenset(), frozenset({"HW_FAST"})]),
        numa_cells=dice.choice([(), CELLS[:1], CELLS, CELLS]),
        pci_devices=dice.choice([(), DEVICES, DEVICES[:1]]),
    )


def _guest(dice, uuid, held):
    flavor, properties = dice.choice(["small", "large"]), dice.choice(PROPERTIES)
    return GuestOnHost(uuid=uuid, flavor=flavor, image_properties=properties, pins=dice.choice(held))


def _groups(dice):
    """Returns one group of each policy, some with members that live on c0 and c1."""
    members = [{}, {}, {"u0-0": "c0"}, {"u0-0": "c0", "u1-0": "c1"}]
    return {policy: ServerGroup(policy.value, policy, dice.choice(members), dice.randint(1, 2)) for policy in Policy}


def _request(dice, number, groups):
    wishes = {key: wish for each in dice.sample(WISHES, dice.choice([0, 1, 1, 2])) for key, wish in each.items()}
    if "group" in wishes:
        wishes["group"] = groups[wishes["group"]]
    return GuestRequest(
        uuid=f"new-{number}",
        name=f"new-{number}",
        vcpus=dice.randint(1, 3),
        memory_mib=dice.choice([256, 1024, 1024, 4096]),
        disk_gib=dice.randint(0, 4),
        swap_mib=dice.choice([0, 0, 100]),
        flavor=dice.choice(["small", "large"]),
        image_properties=dice.choice(PROPERTIES),
        **wishes,
    )
