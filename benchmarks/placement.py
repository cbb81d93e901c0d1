# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement against Nova 34 from PyPI, a bare NumPy prototype, and Ganeti's hspace. Prints ratios.

    python benchmarks/placement.py [speed|batch|packing]...

speed    one request: Nova's default filters and all its weighers, the same in Berth, on the same fleet in one run;
         the prototype is one mask and one min-max score, the least that anything on columns can cost
batch    1,000 requests in one call onto 10,000 and 100,000 hosts, with Nova's defaults and with every filter on
packing  guests placed before the first refusal, five mixes: Nova's weighers, best fit, our pack profile; hspace,
         which knows one flavor at a time and keeps room for a dead node (N+1), on one flavor

Times are CPU seconds of the one thread that works, so that other work on the machine does not count. Nova is
installed once into .cache; hspace is looked up on the path (Debian: apt install ganeti-htools).
"""

from __future__ import annotations

import importlib.util
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from berth.placement import (
    Fleet,
    GuestRequest,
    Host,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    capacity,
    place,
    read_fleet,
)
from berth.placement.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "tests" / "peers" / "nova_peer.py"
FLEETS = ROOT / "benchmarks" / "placement_fleets.py"

NOVA_FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
)
PACK = Profile(
    name="pack",
    weighers=("RAMWeigher", "CPUWeigher", "DiskWeigher"),
    multipliers={"ram_weight_multiplier": -1.0, "cpu_weight_multiplier": -1.0, "disk_weight_multiplier": -1.0},
)


def load(name: str, path: Path) -> Any:
    """Returns the module of a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fleets = load("placement_fleets", FLEETS)


def request_of(raw: dict[str, Any]) -> GuestRequest:
    """Returns the request of a plain map."""
    raw = dict(raw)
    group = raw.pop("group")
    if group:
        group = ServerGroup(group["name"], Policy(group["policy"]), group["members"], group["max_server_per_host"])
    return GuestRequest(group=group, **raw)


def seconds(work: Callable[[], object], least_s: float = 1.0) -> float:
    """Returns the median time of one call."""
    work()
    times: list[float] = []
    while sum(times) < least_s or len(times) < 3:
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return statistics.median(times)


class Prototype:
    """The least: columns, one mask, one score of min-max normalised columns, the first of the best."""

    def __init__(self, fleet: Fleet) -> None:
        usage = fleet.usage
        self.room = np.stack((usage.vcpus_room, usage.memory_mib_room, usage.disk_mib_room))
        self.free = np.stack((usage.vcpus_free, usage.memory_mib_free, usage.disk_mib_free))

    def place(self, need: np.ndarray) -> int:
        """Returns the row of the best host."""
        mask = (self.room >= need[:, None]).all(axis=0)
        low, high = self.free.min(axis=1, keepdims=True), self.free.max(axis=1, keepdims=True)
        score = ((self.free - low) / np.where(high > low, high - low, 1.0)).sum(axis=0)
        return int(np.where(mask, score, -np.inf).argmax())


def nova_seconds(python: Path, count: int, kind: str) -> dict[str, Any]:
    """Returns what Nova takes for one request, which host it chooses, and what it ran."""
    command = [str(python), "-W", "ignore", str(FLEETS.parent / "nova_speed.py"), str(PEER), str(FLEETS)]
    run = subprocess.run([*command, str(count), kind], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def speed() -> None:
    """Prints the time of one request."""
    python = load("nova_venv", ROOT / "tests" / "peers" / "nova_venv.py").nova_python()
    print("\none request     hosts       Nova      Berth  prototype   Nova/Berth  Berth/prototype")
    for count, kind in ((100, "plain"), (1000, "plain"), (10_000, "plain"), (1000, "full"), (10_000, "full")):
        nova = nova_seconds(python, count, kind)
        fleet = read_fleet(fleets.fleet(count, full=kind == "full")).fleet
        request = request_of(fleets.request(full=kind == "full"))
        profile = Profile(filters=tuple(nova["names"][0]), weighers=tuple(nova["names"][1]))
        ours = seconds(lambda f=fleet, r=request, p=profile: place(f, [r], p, now_s=0.0))
        chosen = place(fleet, [request], profile, now_s=0.0)
        best = chosen.explain().weighed[0].score
        theirs = {weighed.host: weighed.score for weighed in chosen.explain().weighed}[nova["best"]]
        assert best == theirs, f"Nova's choice {nova['best']} is not among our best"
        prototype = Prototype(fleet)
        need = np.array((request.vcpus, request.memory_mib, request.disk_gib * 1024))
        bare = seconds(lambda p=prototype, n=need: p.place(n))
        print(
            f"{kind:<12} {count:>8} {nova['seconds'] * 1e3:>7.2f} ms {ours * 1e6:>7.0f} us {bare * 1e6:>7.0f} us "
            f"{nova['seconds'] / ours:>11.0f}x {ours / bare:>15.1f}x"
        )


def batch() -> None:
    """Prints the time of a thousand requests in one call."""
    print("\n1,000 requests in one call (ten flavors)    hosts   seconds   us/request   with every filter on")
    every = tuple(BUILT_IN.filters)
    for count in (10_000, 100_000):
        fleet = big_fleet(count)
        requests = [
            GuestRequest(
                uuid=f"u{n}",
                name=f"u{n}",
                flavor=f"f{n % 10}",
                vcpus=1 + n % 10 % 4,
                memory_mib=1024 * (1 + n % 10),
                disk_gib=10,
                extra_specs={"capabilities:cpu_info:arch": "x86_64", "aggregate_instance_extra_specs:rack": ">= 0"},
                image_properties={"hw_architecture": "x86_64", "os_distro": "debian"},
                hints={"build_near_host_ip": "10.0.0.1", "cidr": "/8", "query": [">", "$free_ram_mb", 1]},
            )
            for n in range(1000)
        ]
        timed = []
        for filters in (NOVA_FILTERS, every):
            profile = Profile(filters=filters)
            before = time.process_time()
            decision = place(fleet, requests, profile, now_s=0.0)
            timed.append(time.process_time() - before)
            assert decision.ok, decision.error()
        plain, full = timed
        print(f"{count:>49,} {plain:>9.3f} {plain * 1e3:>12.0f} {full:>14.3f} s ({full / plain:.1f}x)")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak_mib:.0f} MiB")


def big_fleet(count: int) -> Fleet:
    """Returns many hosts, no two with the same memory."""
    document = fleets.fleet(1, full=False)
    host = read_fleet(document).hosts[0]
    racks = read_fleet(fleets.fleet(fleets.RACKS, full=True)).hosts
    return build_fleet(
        replace(
            host,
            name=f"c{n:06}",
            address=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
            memory_mib_total=host.memory_mib_total + n,
            aggregates=racks[n % fleets.RACKS].aggregates,
        )
        for n in range(count)
    )


def pack_hosts() -> list[Host]:
    """Returns the equal hosts that guests are packed onto."""
    size = fleets.PACK_HOST
    return [
        Host(
            f"h{n:03}",
            facts_at=0.0,
            vcpus_total=size["vcpus"],
            memory_mib_total=size["memory_mib"],
            disk_mib_total=size["disk_gib"] * 1024,
            cpu_allocation_ratio=1.0,
            reserved_host_memory_mib=0,
        )
        for n in range(fleets.PACK_HOSTS)
    ]


def packing() -> None:
    """Prints how many guests are placed before the first refusal."""
    fleet = build_fleet(pack_hosts())
    print(f"\nguests placed before the first refusal, {fleets.PACK_HOSTS} hosts")
    print("mix          Nova's weighers   best fit   pack   upper bound   pack/best")
    for mix in fleets.MIXES:
        wanted = fleets.arrivals(mix, 6000)
        requests = [
            GuestRequest(uuid=f"{n}", name=f"{n}", vcpus=flavor[0], memory_mib=flavor[1], disk_gib=flavor[2])
            for n, flavor in enumerate(wanted)
        ]
        nova = place(fleet, requests, Profile(filters=NOVA_FILTERS), now_s=0.0).failed_index
        pack = place(fleet, requests, PACK, now_s=0.0).failed_index
        fit = best_fit(wanted)
        bound = upper_bound(wanted)
        assert nova is not None and pack is not None
        best = max(nova, fit, pack)
        print(f"{mix:<12} {nova:>15} {fit:>10} {pack:>6} {bound:>13} {pack / best:>11.3f}")
    hspace()


def best_fit(wanted: list[tuple[int, int, int, int]]) -> int:
    """Returns how many fit when each goes to the host that it leaves least of, all three counted alike."""
    size = fleets.PACK_HOST
    full = np.array((size["vcpus"], size["memory_mib"], size["disk_gib"]), dtype=float)
    free = np.tile(full, (fleets.PACK_HOSTS, 1))
    for count, flavor in enumerate(wanted):
        left = free - np.array(flavor[:3], dtype=float)
        score = np.where((left >= 0).all(axis=1), (left / full).sum(axis=1), np.inf)
        best = int(score.argmin())
        if score[best] == np.inf:
            return count
        free[best] = left[best]
    raise AssertionError("more guests are needed")


def upper_bound(wanted: list[tuple[int, int, int, int]], hosts: int = fleets.PACK_HOSTS) -> int:
    """Returns how many fit if the hosts were one: nothing can do better."""
    size = fleets.PACK_HOST
    most = np.array((size["vcpus"], size["memory_mib"], size["disk_gib"])) * hosts
    sums = np.cumsum(np.array([flavor[:3] for flavor in wanted]), axis=0)
    return int((sums <= most).all(axis=1).sum())


def hspace() -> None:
    """Prints how many guests of one flavor fit on ten equal hosts: Ganeti's hspace, which takes no mixes, and Berth."""
    print("\none flavor on 10 hosts    hspace    Berth   upper bound")
    program = shutil.which("hspace")
    if program is None:
        print("hspace is not installed: apt install ganeti-htools")
        return
    size = fleets.PACK_HOST
    hosts = pack_hosts()[:10]
    for vcpus, memory_mib, disk_gib, _ in fleets.MIXES["balanced"]:
        node = f"preferred,10,{size['disk_gib'] * 1024},{size['memory_mib']},{size['vcpus']}"
        spec = f"{disk_gib * 1024},{memory_mib},{vcpus}"
        options = ["--simulate", node, "--standard-alloc", spec, "--disk-template", "plain", "--machine-readable"]
        run = subprocess.run([program, *options], capture_output=True, text=True, check=True, timeout=300)
        theirs = next(line.partition("=")[2] for line in run.stdout.splitlines() if "HTS_ALLOC_INSTANCES" in line)
        flavor = GuestRequest(uuid="f", name="f", vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
        (ours,) = capacity(build_fleet(hosts), [flavor], PACK, now_s=0.0)
        bound = upper_bound([(vcpus, memory_mib, disk_gib, 1)] * 6000, 10)
        print(f"{vcpus} vCPU, {memory_mib // 1024:>3} GiB, {disk_gib:>3} GiB {theirs:>8} {ours.total:>8} {bound:>13}")


PARTS = {"speed": speed, "batch": batch, "packing": packing}


def main() -> None:
    """Runs the parts that are named, or all."""
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]}; parts: {', '.join(PARTS)}")
    for name in wanted:
        PARTS[name]()


if __name__ == "__main__":
    main()
