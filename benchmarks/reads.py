# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-process seconds of `berth list` on a large ledger, against a bare Python process that opens it.

    python benchmarks/reads.py [--guests 1000] [--rounds 7] [--json]

The bare process is `python -c` with sqlite3 alone: it opens the ledger and fetches every guest. Both run in turn; the
ratio of the medians is the result, the seconds are the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from berth.cloud import find_cloud
from berth.ledger import Ledger
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, AddressWish, BootRecord, Claim, HostUpdate, NewGuest, Resources
from berth.ledger.store_hosts import Refresh

BERTH = str(Path(sys.executable).parent / "berth")
SIZE = Resources(1, 512, 1024)
ROOMY = Resources(10**6, 10**9, 10**9)
BARE = "import sqlite3, sys; print(len(sqlite3.connect(sys.argv[1]).execute('SELECT * FROM guests').fetchall()))"


def fill(folder: Path, count: int) -> None:
    """Makes a cloud whose ledger has `count` guests on eight hosts."""
    subprocess.run([BERTH, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    names = tuple(f"guest-{index}" for index in range(count))
    guests = [
        NewGuest(str(uuid.uuid4()), "default", name, "m1.small", "tiny", SIZE, plan={"networks": [{"network": "lan"}]})
        for name in names
    ]
    record = BootRecord(
        tuple(guests),
        tuple(Claim(guest.uuid, f"h{index % 8}", SIZE, ROOMY) for index, guest in enumerate(guests)),
        tuple(AddressWish(guest.uuid, 0, "lan", "10.0.0.1", "10.15.255.254") for guest in guests),
    )
    with Ledger.open(find_cloud(str(folder)).ledger_url) as ledger:
        hosts = [HostUpdate(f"h{index}", {"machine_id": str(index)}) for index in range(8)]
        ledger.store_hosts(Refresh(hosts, {}, "d", 1.0))
        action = ledger.begin_action(ActionRequest(Verb.BOOT, "default", names, "benchmark"), Owner.of_process())
        ledger.record_boot(action.id, record)


def seconds(argv: list[str], count: int) -> float:
    """Returns how long a process took. Ends the benchmark if it fails or saw another number of guests."""
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True)
    taken = time.perf_counter() - began
    seen = json.loads(done.stdout) if done.returncode == 0 else done.stderr
    if (len(seen) if isinstance(seen, list) else seen) != count:
        raise SystemExit(f"{argv[0]}: {done.returncode}: {str(seen)[:500]}")
    return taken


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="berth-reads-") as scratch:
        cloud = Path(scratch) / "cloud"
        fill(cloud, asked.guests)
        calls = {
            "bare": [sys.executable, "-c", BARE, str(cloud / "ledger.sqlite")],
            "list": [BERTH, "--cloud", str(cloud), "list", "--format", "json"],
        }
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(asked.rounds):
            for name, argv in calls.items():
                taken[name].append(seconds(argv, asked.guests))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    found = {
        "guests": asked.guests,
        "load": os.getloadavg()[0],
        "bare_s": round(medians["bare"], 3),
        "list_s": round(medians["list"], 3),
        "ratio": round(medians["list"] / medians["bare"], 1),
    }
    print(json.dumps(found, indent=2) if asked.json else "  ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
