# SPDX-License-Identifier: GPL-3.0-or-later
"""Random fleets and requests for the comparison with Nova: plain maps, the same for the same seed."""

from random import Random

ALIASES = {
    "gpu": {"vendor_id": "10de", "product_id": "1eb8", "numa_policy": "legacy"},
    "nic": {"vendor_id": "8086", "product_id": "1520", "numa_policy": "preferred"},
    "near": {"vendor_id": "8086", "product_id": "1520", "numa_policy": "required"},
}
FLAVORS, IMAGES, PROJECTS = ("small", "large"), ("debian", "windows"), ("lab", "shop")
QUERIES = (
    [">=", "$free_ram_mb", 4096],
    ["<", "$num_instances", 2],
    ["and", [">", "$vcpus_total", 4], ["<", "$num_io_ops", 7]],
    ["or", ["=", "$host", "c0"], ["=", "$hypervisor_version", 7002000]],
    ["not", ["=", "$host", "c0"]],
    ["not", [">", "$vcpus_total", 8], ["<", "$num_io_ops", 3]],
    ["in", "$host", "c1", "c2"],
    ["<=", 2, "$vcpus_total", 9],
    ["=", "$stats.rack", "r1"],
    ["=", "$stats.nothing", "x"],
)
CAPABILITIES = {
    "capabilities:vcpus_total": (">= 4", "<= 8", "== 8", "!= 8", "= 6"),
    "capabilities:rack": ("r1", "<or> r1 <or> r2", "s!= r1", "s>= r2", "<in> r"),
    "capabilities:cpu_info:features": ("<in> avx", "<all-in> aes avx"),
    "capabilities:cpu_info:topology:sockets": (">= 2",),
    "capabilities:missing": ("x",),
    "vcpus_total": (">= 6",),
    "free_ram_mb": (">= 3000",),
    "hypervisor_type": ("s== QEMU", "KVM"),
    "hw:maxphysaddr_bits": ("40", "46"),
}
AGGREGATE_SPECS = {
    "ssd": ("true", "s!= false"),
    "aggregate_instance_extra_specs:tier": (">= 2", "<or> 1 <or> 3"),
    "aggregate_instance_extra_specs:ssd": ("<in> tru",),
}
NUMA_SPECS = (
    {"hw:numa_nodes": "1"},
    {"hw:numa_nodes": "2"},
    {"hw:cpu_policy": "dedicated"},
    {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"},
    {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "require"},
    {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"},
    {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "prefer", "hw:emulator_threads_policy": "isolate"},
    {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"},
    {"hw:mem_page_size": "2048"},
    {"hw:mem_page_size": "2MB", "hw:cpu_policy": "dedicated"},
    {"hw:mem_page_size": "large"},
    {"hw:mem_page_size": "small"},
    {"hw:mem_page_size": "any"},
    {
        "hw:numa_nodes": "2",
        "hw:numa_cpus.0": "0",
        "hw:numa_cpus.1": "1-3",
        "hw:numa_mem.0": "256",
        "hw:numa_mem.1": "768",
    },
)
METADATA = (
    {"ssd": "true", "tier": "1"},
    {"ssd": "false,true", "tier": "3"},
    {"tier": "2", "max_io_ops_per_host": "4", "max_instances_per_host": "1"},
    {"max_io_ops_per_host": "3,9", "cpu_weight_multiplier": "0.5"},
    {"max_io_ops_per_host": "7", "ram_weight_multiplier": "-1.5"},
    {"filter_tenant_id": "lab", "instance_type": "small"},
    {"filter_tenant_id_2": "shop, lab", "instance_type": "large, small", "io_ops_weight_multiplier": "x"},
    {"instance_type": "large", "disk_weight_multiplier": "2.0"},
    {"os_distro": "debian", "hw_machine_type": "q35"},
    {"os_distro": "windows, debian", "soft_affinity_weight_multiplier": "3"},
    {"os_distro": "windows", "build_failure_weight_multiplier": "10"},
)


def random_case(seed):
    """Returns one fleet with one request, options and multipliers: what nova_peer.py takes on a line."""
    dice = Random(seed)
    aggregates = {f"g{n}": dice.choice(METADATA) for n in range(dice.randint(0, 3))}
    hosts = [_host(dice, n, aggregates) for n in range(dice.randint(1, 6))]
    return {
        "seed": seed,
        "fleet": {"now": 0.0, "hosts": hosts, "aggregates": aggregates},
        "request": _request(dice, hosts),
        "aliases": ALIASES,
        "count": dice.choice((1, 1, 2, 3, 6)),
        "options": {
            "facts_max_age_s": 500.0,
            "max_io_ops_per_host": dice.choice((5, 8)),
            "max_instances_per_host": dice.choice((1, 2, 50)),
            "isolated_hosts": dice.choice(([], ["c0"], ["c0", "c2"])),
            "isolated_images": dice.choice(([], ["debian"])),
            "restrict_isolated_hosts_to_isolated_images": dice.random() < 0.6,
            "metrics_weight_setting": dice.choice(
                ({}, {"cpu.frequency": -1.0}, {"cpu.frequency": 1.5, "cpu.user.percent": 0.5})
            ),
            "image_props_weight_setting": dice.choice(({}, {"os_distro": 2.0})),
        },
        "multipliers": {
            "num_instances_weight_multiplier": dice.choice((0.0, -1.0)),
            "image_props_weight_multiplier": dice.choice((0.0, 0.0, 1.0)),
            "ram_weight_multiplier": dice.choice((1.0, -1.0)),
            "metrics_weight_multiplier": dice.choice((1.0, 0.5)),
            "pci_weight_multiplier": 1.0,
            "cpu_weight_multiplier": 1.0,
            "disk_weight_multiplier": 1.0,
            "io_ops_weight_multiplier": -1.0,
            "hypervisor_version_weight_multiplier": 1.0,
            "build_failure_weight_multiplier": dice.choice((1000000.0, 0.0)),
            "soft_affinity_weight_multiplier": 1.0,
            "soft_anti_affinity_weight_multiplier": 1.0,
        },
    }


def _host(dice, number, aggregates):
    memory = dice.choice((0, 4096, 8192, 16384, 32768))
    cells = _cells(dice) if dice.random() < 0.6 else []
    features = dice.sample(["aes", "avx", "sse4"], dice.randint(0, 3))
    sockets = dice.choice((1, 2))
    cpu = {"model": "Skylake", "vendor": "Intel", "features": features, "sockets": sockets, "cores": 2, "threads": 1}
    if dice.random() < 0.7:
        cpu["maxphysaddr_bits"] = dice.choice((39, 40, 46))
    facts = {"architecture": "x86_64", "cpu": cpu}
    if dice.random() < 0.8:
        facts["rack"] = dice.choice(("r1", "r2", "r3"))
    facts["cpu_info"] = {
        "arch": "x86_64",
        **{key: cpu[key] for key in ("model", "vendor", "features")},
        "topology": {"cells": len(cells) or None, **{key: cpu[key] for key in ("sockets", "cores", "threads")}},
    }
    if "maxphysaddr_bits" in cpu:
        facts["cpu_info"]["maxphysaddr"] = {"bits": cpu["maxphysaddr_bits"]}
    return {
        "name": f"c{number}",
        "enabled": dice.random() < 0.95,
        "reachable": dice.random() < 0.95,
        "facts_at": dice.choice((0.0, -100.0, -400.0, -600.0, 0.0, -3.0, -1.0, -50.0)),
        "facts": facts,
        "address": dice.choice(("10.0.0.1", "10.0.0.200", "10.0.1.7", "10.9.0.1")),
        "vcpus_total": dice.choice((2, 8, 16, 32)),
        "vcpus_used": dice.choice((0, 0, 3, 6)),
        "memory_mib_total": memory,
        "memory_mib_used": dice.choice((0, 0, 512, 3000)),
        "disk_mib_total": 1024 * dice.choice((0, 40, 100)),
        "disk_mib_used": 1024 * dice.choice((0, 0, 5)),
        "disk_free_mib_measured": dice.choice((None, 1024 * 7)),
        "cpu_allocation_ratio": dice.choice((1.0, 4.0)),
        "ram_allocation_ratio": dice.choice((1.0, 1.5)),
        "reserved_host_memory_mib": dice.choice((0, 512)),
        "reserved_host_cpus": dice.choice((0, 1)),
        "aggregates": dice.sample(sorted(aggregates), dice.randint(0, len(aggregates))),
        "guests": [_guest(dice, f"u{number}{n}", cells) for n in range(dice.randint(0, 3))],
        "num_io_ops": dice.randint(0, 9),
        "failed_builds": dice.choice((0, 0, 1, 3)),
        "metrics": dice.choice(({}, {"cpu.frequency": 3}, {"cpu.frequency": 1, "cpu.user.percent": 4})),
        "hypervisor_version": dice.choice((None, 6002000, 7002000, 10000001)),
        "supported_instances": dice.choice(
            ([], [["x86_64", "kvm", "hvm"], ["i686", "kvm", "hvm"]], [["aarch64", "qemu", "hvm"]])
        ),
        "numa_cells": cells,
        "pci_devices": _devices(dice, number),
    }


def _cells(dice):
    cells = []
    threads = dice.random() < 0.5
    layout = dice.choice(("shared", "split", "both", "dedicated"))
    for number in range(dice.choice((1, 1, 2, 3))):
        cpus = list(range(number * 4, number * 4 + 4))
        shared, dedicated = {
            "shared": (cpus, []),
            "split": (cpus[:2], cpus[2:]),
            "both": (cpus, cpus),
            "dedicated": ([], cpus),
        }[layout]
        pages = [{"size_kib": 4, "total": dice.choice((65536, 262144, 524288)), "reserved": 0}]
        if dice.random() < 0.6:
            pages.append({"size_kib": 2048, "total": dice.choice((128, 512)), "reserved": dice.choice((0, 1))})
        cells.append(
            {
                "id": number,
                "memory_mib": dice.choice((512, 1024, 4096)),
                "shared_cpus": _text(shared),
                "dedicated_cpus": _text(dedicated),
                "siblings": [_text(cpus[:2]), _text(cpus[2:])] if threads else [str(cpu) for cpu in cpus],
                "pages": pages if dice.random() < 0.7 else [],
                "socket": dice.choice((None, 0, number)),
            }
        )
    return cells


def _text(cpus):
    return ",".join(str(cpu) for cpu in cpus)


def _guest(dice, uuid, cells):
    guest = {
        "uuid": uuid,
        "flavor": dice.choice(FLAVORS),
        "image_properties": dice.choice(
            ({}, {"os_distro": "debian"}, {"os_distro": "windows", "hw_machine_type": "q35"})
        ),
    }
    if cells and dice.random() < 0.5:
        cell = dice.choice(cells)
        free = [int(cpu) for cpu in cell["dedicated_cpus"].split(",") if cpu]
        taken = dice.sample(free, min(len(free), 1)) if dice.random() < 0.6 else []
        guest["pins"] = {
            "cells": [
                {
                    "guest_cell": 0,
                    "host_cell": cell["id"],
                    "memory_mib": dice.choice((128, 256)),
                    "guest_cpus": [0, 1],
                    "cpus": {str(at): cpu for at, cpu in enumerate(taken)},
                    "cpuset": [],
                    "page_size_kib": None,
                    "blocked": [],
                }
            ],
            "pci_addresses": [],
            "emulator_cpus": [],
        }
    return guest


def _devices(dice, number):
    kinds = list({(alias["vendor_id"], alias["product_id"]) for alias in ALIASES.values()})
    found = []
    for at in range(dice.choice((0, 0, 1, 2, 3))):
        vendor, product = sorted(kinds)[dice.randrange(len(kinds))]
        node = dice.choice((None, 0, 1))
        found.append(
            {"address": f"0000:{number:02x}:{at:02x}.0", "vendor_id": vendor, "product_id": product, "numa_node": node}
        )
    return found


def _request(dice, hosts):
    specs = {}
    for table, chance in ((CAPABILITIES, 0.35), (AGGREGATE_SPECS, 0.35)):
        if dice.random() < chance:
            key = dice.choice(sorted(table))
            specs[key] = dice.choice(table[key])
    numa = dice.random() < 0.4
    if numa:
        specs.update(dice.choice(NUMA_SPECS))
    if dice.random() < 0.3:
        specs["pci_passthrough:alias"] = dice.choice(("gpu:1", "gpu:2", "nic:1", "near:1", "gpu:1,nic:1"))
    properties = dice.choice(
        (
            {},
            {"os_distro": "debian"},
            {"os_distro": "debian", "hw_machine_type": "q35"},
            {"hw_architecture": "x86_64"},
            {"img_hv_type": "kvm", "img_hv_requested_version": ">=7.0,<10"},
            {"hw_architecture": "i686", "img_hv_type": "kvm"},
            {"hw_vm_mode": "hvm", "img_hv_requested_version": ">=7"},
        )
    )
    if "hw:maxphysaddr_bits" in specs:
        specs["hw:maxphysaddr_mode"] = "passthrough"
    return {
        "uuid": "new",
        "name": "new",
        "project": dice.choice(PROJECTS),
        "flavor": dice.choice(FLAVORS),
        "image": dice.choice(IMAGES),
        "vcpus": 4 if "hw:numa_cpus.0" in specs else dice.choice((2, 4)),
        "memory_mib": 1024 if "hw:numa_mem.0" in specs else dice.choice((256, 512, 1024, 2048)),
        "disk_gib": dice.choice((0, 4, 8)),
        "extra_specs": specs,
        "image_properties": properties,
        "group": _group(dice, hosts),
        "hints": _hints(dice),
    }


def _group(dice, hosts):
    if dice.random() < 0.25:
        return None
    policy = dice.choice(("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"))
    everyone = [(guest["uuid"], host["name"]) for host in hosts for guest in host["guests"]]
    members = dict(dice.sample(everyone, min(len(everyone), dice.randint(0, 4))))
    return {"name": "group", "policy": policy, "max_server_per_host": dice.choice((1, 1, 2)), "members": members}


def _hints(dice):
    hints = {}
    if dice.random() < 0.3:
        hints["different_host"] = dice.sample(["u00", "u01", "u10", "u20", "gone"], dice.randint(1, 2))
    if dice.random() < 0.3:
        hints["same_host"] = dice.sample(["u00", "u01", "u10", "u20", "gone"], dice.randint(1, 2))
    if dice.random() < 0.3:
        hints["build_near_host_ip"] = "10.0.0.5"
        if dice.random() < 0.5:
            hints["cidr"] = dice.choice(("/25", "/16"))
    if dice.random() < 0.4:
        hints["query"] = dice.choice(QUERIES)
    return hints
