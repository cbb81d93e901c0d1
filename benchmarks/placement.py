# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement against Nova 34 from PyPI, a bare NumPy prototype, and Ganeti's hspace. Prints ratios.

    python benchmarks/placement.py [speed|batch|packing]...

speed    one request: Nova's default filters and all its weighers, the same in Berth, on the same fleet in one run;
         the prototype is one mask and one min-max score, the least that anything on columns can cost
batch    1,000 requests in one call onto 10,000 and 100,000 hosts, with Nova's defaults, with every filter on, and the
         mix of placement_mix.py, whose guests depend on each other; each size in a process of its own; the prototype
         computes everything again for each request
packing  guests placed before the first refusal, five mixes: Nova's weighers, best fit, our pack profile, and an
         upper bound; then Ganeti's hspace, which knows one size at a time, on each size and each mix's mean size,
         with and without the room that it keeps for a dead node (N+1)

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
import tempfile
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
SPEED_CASES = ((100, "plain"), (1000, "plain"), (10_000, "plain"), (1000, "full"), (10_000, "full"))
BATCH_HOSTS = (10_000, 100_000)
LARGEST = 100_000
NO_N_PLUS_1 = ("--no-capacity-checks",)
HSPACE_S = 120
HSPACE_BYTES = 2 * 1024**3
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
mix = load("placement_mix", FLEETS.with_name("placement_mix.py"))


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
    for count, kind in SPEED_CASES:
        nova = nova_seconds(python, count, kind)
        fleet = read_fleet(fleets.fleet(count, full=kind == "full")).fleet
        request = request_of(fleets.request(full=kind == "full"))
        profile = Profile(filters=tuple(nova["names"][0]), weighers=tuple(nova["names"][1]))
        chosen = place(fleet, [request], profile, now_s=0.0)
        best = chosen.explain().weighed[0].score
        theirs = {weighed.host: weighed.score for weighed in chosen.explain().weighed}[nova["best"]]
        assert best == theirs, f"Nova's choice {nova['best']} is not among our best"
        ours, bare = one_request(fleet, request, profile)
        print(
            f"{kind:<12} {count:>8} {nova['seconds'] * 1e3:>7.2f} ms {ours * 1e6:>7.0f} us {bare * 1e6:>7.0f} us "
            f"{nova['seconds'] / ours:>11.0f}x {ours / bare:>15.1f}x"
        )
    # Nova takes ten seconds and more for one request here.
    ours, bare = one_request(big_fleet(LARGEST), request_of(fleets.request()), Profile(filters=NOVA_FILTERS))
    times = f"{'-':>10} {ours * 1e6:>7.0f} us {bare * 1e6:>7.0f} us"
    print(f"{'plain':<12} {LARGEST:>8} {times} {'-':>12} {ours / bare:>15.1f}x")


def one_request(fleet: Fleet, request: GuestRequest, profile: Profile) -> tuple[float, float]:
    """Returns what one request takes Berth, and the prototype."""
    ours = seconds(lambda: place(fleet, [request], profile, now_s=0.0))
    prototype = Prototype(fleet)
    need = np.array((request.vcpus, request.memory_mib, request.disk_gib * 1024))
    return ours, seconds(lambda: prototype.place(need))


def batch() -> None:
    """Prints the time of a thousand requests in one call. Each fleet has a process, so that its memory is its own."""
    print(
        "\n1,000 requests, ten flavors    hosts   seconds  us/request  prototype    every filter on   peak memory   mix"
    )
    for count in BATCH_HOSTS:
        subprocess.run([sys.executable, __file__, f"batch-{count}"], check=True)


def one_batch(count: int) -> None:
    """Prints one row of batch()."""
    fleet, requests = big_fleet(count), batch_requests()
    timed = []
    for filters in (NOVA_FILTERS, tuple(BUILT_IN.filters)):
        profile = Profile(filters=filters)
        before = time.process_time()
        decision = place(fleet, requests, profile, now_s=0.0)
        timed.append(time.process_time() - before)
        assert decision.ok, decision.error()
    plain, full = timed
    prototype = Prototype(fleet)
    bare = seconds(lambda: prototype.place(np.array((1, 1024, 10 * 1024))))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mixed = mixed_batch(count)
    print(
        f"{count:>36,} {plain:>9.3f} {plain * 1e3:>11.0f} {bare * 1e6:>7.0f} us "
        f"{full:>8.3f} s ({full / plain:.1f}x) {peak_mib:>9.0f} MiB {mixed:>7.3f} s ({mixed / plain:.1f}x)",
        flush=True,
    )


def mixed_batch(count: int) -> float:
    """Returns what a thousand guests take whose place depends on others, or on what a host has one by one."""
    fleet = mix.fleet(big_fleet(count).hosts, fleets.RACKS)
    before = time.process_time()
    decision = place(fleet, mix.requests(), mix.PROFILE, now_s=0.0)
    taken = time.process_time() - before
    assert decision.ok, decision.error()
    return taken


def batch_requests() -> list[GuestRequest]:
    """Returns a thousand guests of ten flavors that ask for something of most filters."""
    return [
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
    print("mix          Nova's weighers   best fit   pack   upper bound   pack/best   pack/bound")
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
        print(f"{mix:<12} {nova:>15} {fit:>10} {pack:>6} {bound:>13} {pack / best:>11.3f} {pack / bound:>12.3f}")
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
    """Prints how many guests of one size fit on ten equal hosts: Ganeti's hspace, which takes no mixes, and Berth."""
    print("\none size on 10 hosts                         hspace N+1   hspace   Berth   upper bound   Berth/hspace")
    program = shutil.which("hspace")
    if program is None:
        sys.exit("hspace is not installed: apt install ganeti-htools")
    fleet = build_fleet(pack_hosts()[:10])
    for mix, flavors in fleets.MIXES.items():
        for name, (vcpus, memory_mib, disk_gib) in sizes(flavors):
            theirs = [hspace_count(program, (vcpus, memory_mib, disk_gib), *extra) for extra in ((), NO_N_PLUS_1)]
            flavor = GuestRequest(uuid="f", name="f", vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
            (ours,) = capacity(fleet, [flavor], PACK, now_s=0.0)
            bound = upper_bound([(vcpus, memory_mib, disk_gib, 1)] * 6000, 10)
            label = f"{mix:<9} {name:<5} {vcpus:>2} vCPU {memory_mib:>6} MiB {disk_gib:>4} GiB"
            ratio = ours.total / theirs[1]
            print(f"{label:<44} {theirs[0]:>10} {theirs[1]:>8} {ours.total:>7} {bound:>13} {ratio:>14.3f}")


def sizes(flavors: tuple[tuple[int, int, int, int], ...]) -> list[tuple[str, tuple[int, int, int]]]:
    """Returns the sizes of a mix, and the size of its mean guest."""
    shares = sum(flavor[3] for flavor in flavors)
    mean = [-(-sum(flavor[at] * flavor[3] for flavor in flavors) // shares) for at in range(3)]
    return [*((f"{flavor[3]}/{shares}", flavor[:3]) for flavor in flavors), ("mean", (mean[0], mean[1], mean[2]))]


def hspace_count(program: str, size: tuple[int, int, int], *extra: str) -> int:
    """Returns how many guests of one size hspace finds room for. It never fills a node's memory to the last MiB."""
    vcpus, memory_mib, disk_gib = size
    with tempfile.NamedTemporaryFile("w", suffix=".data") as cluster:
        cluster.write(cluster_text(10, size))
        cluster.flush()
        spec = f"{disk_gib * 1024},{memory_mib},{vcpus}"
        options = ["-t", cluster.name, "--standard-alloc", spec, "--disk-template", "plain", *extra]
        command = [program, *options, "--machine-readable"]
        run = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=HSPACE_S, preexec_fn=bound_memory
        )
    return int(next(line.partition("=")[2] for line in run.stdout.splitlines() if "HTS_ALLOC_INSTANCES" in line))


def bound_memory() -> None:
    """Keeps hspace, which takes what it can get when it does not end, from taking the machine's memory."""
    resource.setrlimit(resource.RLIMIT_AS, (HSPACE_BYTES, HSPACE_BYTES))


def cluster_text(count: int, size: tuple[int, int, int]) -> str:
    """Returns the equal hosts as htools' text data, empty, with a policy that allows guests of this size only.

    hspace also looks for room for ever smaller guests, from the policy's largest on, and does not end when that is
    much larger than the hosts.
    """
    host, (guest_vcpus, guest_memory_mib, guest_disk_gib) = fleets.PACK_HOST, size
    memory_mib, disk_mib, vcpus = host["memory_mib"], host["disk_gib"] * 1024, host["vcpus"]
    nodes = [
        f"h{n}|{memory_mib}|0|{memory_mib}|{disk_mib}|{disk_mib}|{vcpus}|{'N' if n else 'M'}|uuid|1||N|0|1|1.0"
        for n in range(count)
    ]
    guest = f"{guest_memory_mib},{guest_vcpus},{guest_disk_gib * 1024},1,1,1"
    policy = f"{guest}|{guest};{guest}|plain|1.0|1000000.0"
    return "\n".join(["group|uuid|preferred||", "", *nodes, "", "", "", f"|{policy}", f"group|{policy}", ""])


PARTS = {"speed": speed, "batch": batch, "packing": packing}


def main() -> None:
    """Runs the parts that are named, or all."""
    wanted = sys.argv[1:] or list(PARTS)
    if wanted[0].startswith("batch-"):
        one_batch(int(wanted[0].removeprefix("batch-")))
        return
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]}; parts: {', '.join(PARTS)}")
    for name in wanted:
        PARTS[name]()


if __name__ == "__main__":
    main()
