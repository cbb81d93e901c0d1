# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds from the command to N running guests: Berth against bare libvirt calls on the same hosts, and against peers.

    python benchmarks/boot.py [--guests 1,10,50] [--hosts 1,3] [--rounds 3] [--peers FOLDER] [--json]

The guests have an empty disk and idle in their firmware, so making them is what takes the time. Everything runs on
hosts of the lab (LAB_NAME, LAB_SLOT), which stay up; the rounds alternate between the contestants. Ratios are the
result, the seconds are the machine's. With --peers each peer that is installed in FOLDER (see docs/benchmarks.md) or on
the first host runs there, so no connection to the host counts against it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import boot_contestants as contestants
from boot_contestants import Berth, Contestant

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/lab"))
os.environ.setdefault("LAB_NAME", "bench")
os.environ.setdefault("LAB_SLOT", "7")

from lab import layout
from lab.cluster import Lab

Case = tuple[int, int]


def numbers(text: str) -> list[int]:
    """Returns the numbers of a list such as 1,10,50."""
    return [int(word) for word in text.split(",")]


def measure(case: Case, rivals: list[Contestant], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Returns the seconds of every round, by contestant."""
    count, hosts = case
    seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    for turn in range(rounds):
        # Whoever comes first pays for caches that went cold; so each comes first once.
        for rival in rivals[turn % len(rivals) :] + rivals[: turn % len(rivals)]:
            taken = rival.boot(count, hosts)
            seconds[rival.name].append(taken)
            say(f"{count} guests on {hosts}: {rival.name} {taken:.2f} s, load {os.getloadavg()[0]:.1f}")
    return seconds


def rows(case: Case, seconds: dict[str, list[float]], rivals: list[Contestant]) -> list[dict[str, object]]:
    """Returns one row per contestant, with its ratio to the bare calls."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        {
            "guests": case[0],
            "hosts": case[1],
            "who": rival.name,
            "median_s": round(medians[rival.name], 2),
            "min_s": round(min(seconds[rival.name]), 2),
            "max_s": round(max(seconds[rival.name]), 2),
            "ratio_to_bare": round(medians[rival.name] / medians["bare"], 2),
            "over_bare_s": round(medians[rival.name] - medians["bare"], 2),
            "differs": rival.differs,
        }
        for rival in rivals
    ]


def print_table(found: list[dict[str, object]]) -> None:
    """Prints the rows as a Markdown table, then where a contestant does other work."""
    print("| guests | hosts | who | median s (min-max) | ratio to bare | over bare s |\n|---|---|---|---|---|---|")
    for row in found:
        span = f"{row['median_s']} ({row['min_s']}-{row['max_s']})"
        cells = [row["guests"], row["hosts"], row["who"], span, row["ratio_to_bare"], row["over_bare_s"]]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    for who, differs in {str(row["who"]): row["differs"] for row in found}.items():
        print(f"\n{who}: {differs}")


def options() -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=numbers, default=[1, 10, 50])
    parser.add_argument("--hosts", type=numbers, default=[1, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="folder with the peers' environments")
    parser.add_argument("--peers-up-to", type=int, default=10, metavar="N", help="no peers for more guests")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Measures every case and prints what was found."""
    asked = options()
    lab = Lab(layout.from_environment())
    lab.up(max(asked.hosts))
    began, found = time.time(), []
    with tempfile.TemporaryDirectory(prefix="berth-benchmark-") as scratch:
        berth = Berth(lab, Path(scratch) / "cloud")
        bare = contestants.Bare(lab, berth)
        peers = contestants.installed_peers(lab, asked.peers) if asked.peers else []
        for hosts in asked.hosts:
            for count in asked.guests:
                with_peers = hosts == 1 and count <= asked.peers_up_to
                rivals = [bare, berth, *(peers if with_peers else [])]
                seconds = measure((count, hosts), rivals, asked.rounds, lambda text: print(text, file=sys.stderr))
                found += rows((count, hosts), seconds, rivals)
    if asked.json:
        print(json.dumps({"at": began, "cpus": os.cpu_count(), "load": os.getloadavg(), "rows": found}, indent=2))
    else:
        print_table(found)


if __name__ == "__main__":
    main()
