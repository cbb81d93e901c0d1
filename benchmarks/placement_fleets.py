# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleets and requests of benchmarks/placement.py, as plain maps: the same for Berth and for Nova."""

from random import Random

GIB = 1024
RACKS = 8


def fleet(count, *, full=False):
    """Returns a fleet document of `count` hosts; `full`: 20 guests on each, aggregates, versions that differ."""
    dice = Random(count)
    return {
        "now": 0.0,
        "aggregates": {f"rack{n}": {"ssd": "true" if n % 2 else "false", "rack": str(n)} for n in range(RACKS)},
        "hosts": [_host(dice, number, full=full) for number in range(count)],
    }


def _host(dice, number, *, full):
    guests = [_guest(number, n) for n in range(20)] if full else []
    used = sum(guest["memory_mib"] for guest in guests)
    return {
        "name": f"c{number:06}",
        "facts_at": 0.0,
        "facts": {"architecture": "x86_64", "cpu_info": {"arch": "x86_64"}, "cpu": {"sockets": 2}},
        "address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "vcpus_total": 64,
        "vcpus_used": len(guests),
        "memory_mib_total": 256 * GIB + dice.randrange(0, 64) * 512,
        "memory_mib_used": used,
        "disk_mib_total": 4000 * GIB,
        "disk_mib_used": len(guests) * 10 * GIB,
        "reserved_host_memory_mib": 512,
        "aggregates": [f"rack{number % RACKS}"] if full else [],
        "guests": guests,
        "num_io_ops": dice.randrange(0, 3),
        "hypervisor_version": dice.choice((7002000, 10000001)),
        "supported_instances": [["x86_64", "kvm", "hvm"]],
    }


def _guest(host, number):
    return {
        "uuid": f"g{host}-{number}",
        "flavor": "small",
        "vcpus": 1,
        "memory_mib": 2048,
        "disk_mib": 10 * GIB,
        "image_properties": {},
    }


def request(*, full=False):
    """Returns one request; `full`: with extra specs that filters read, image properties and a group."""
    return {
        "uuid": "new",
        "name": "new",
        "project": "lab",
        "flavor": "small",
        "image": "debian",
        "vcpus": 2,
        "memory_mib": 4096,
        "disk_gib": 10,
        "extra_specs": {"capabilities:cpu_info:arch": "x86_64", "vcpus_total": ">= 8"} if full else {},
        "image_properties": {"hw_architecture": "x86_64"} if full else {},
        "group": {
            "name": "g",
            "policy": "anti-affinity",
            "max_server_per_host": 1,
            "members": {f"g{number}-0": f"c{number:06}" for number in range(10)},
        }
        if full
        else None,
        "hints": {},
    }


# Five mixes of flavors, (vCPUs, memory MiB, disk GiB, share), on hosts of 32 vCPUs, 128 GiB and 2000 GiB.
MIXES = {
    "balanced": ((1, 4 * GIB, 60, 4), (2, 8 * GIB, 120, 2), (8, 32 * GIB, 480, 1)),
    "memory": ((1, 8 * GIB, 20, 5), (2, 24 * GIB, 40, 2), (4, 56 * GIB, 80, 1)),
    "cpu": ((4, 2 * GIB, 20, 5), (7, 4 * GIB, 40, 2), (15, 8 * GIB, 80, 1)),
    "opposed": ((11, 4 * GIB, 20, 1), (1, 44 * GIB, 20, 1)),
    "giants": ((1, 4 * GIB, 30, 6), (20, 80 * GIB, 900, 1)),
}
PACK_HOSTS = 100
PACK_HOST = {"vcpus": 32, "memory_mib": 128 * GIB, "disk_gib": 2000}


def arrivals(mix, count):
    """Returns the flavors of a mix in the order in which guests ask, from a fixed seed."""
    dice = Random(mix)
    flavors = MIXES[mix]
    return dice.choices(flavors, [flavor[3] for flavor in flavors], k=count)
