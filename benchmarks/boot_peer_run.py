# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: a peer's command to its end or until all its guests run; prints seconds, then removes the guests.

python3 peer_run.py COUNT PREFIX COMMAND end|cut
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import libvirt

LIMIT_S = 300


def mine(connection, prefix):
    """Every guest of the benchmark, running or not."""
    return [domain for domain in connection.listAllDomains() if domain.name().startswith(prefix)]


def remove(connection, prefix):
    """Every guest and disk of the benchmark. Guests whose maker was stopped half-way may go while we look."""
    for domain in mine(connection, prefix):
        for act in (domain.destroy, domain.undefine):
            with suppress(libvirt.libvirtError):
                act()
    for name in (prefix, prefix + "-vl"):
        pool = connection.storagePoolLookupByName(name)
        pool.refresh()
        for volume in pool.listAllVolumes():
            if volume.name().startswith(prefix):
                volume.delete()


def main():
    """Measure, count, remove."""
    count, prefix, command, cut = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "cut"
    connection = libvirt.open("qemu:///system")
    output = open("/tmp/peer.log", "w+")  # noqa: PTH123
    began = time.perf_counter()
    peer = subprocess.Popen(
        ["bash", "-c", command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
    )
    running = 0
    while peer.poll() is None and time.perf_counter() - began < LIMIT_S:
        running = sum(domain.isActive() for domain in mine(connection, prefix))
        if running == count and cut:
            break
        time.sleep(0.02)
    taken = time.perf_counter() - began
    running = sum(domain.isActive() for domain in mine(connection, prefix))
    if peer.poll() is None:
        os.killpg(peer.pid, signal.SIGKILL)
        peer.wait()
    remove(connection, prefix)
    if running != count:
        output.seek(0)
        sys.exit(f"{running} of {count} guests run:\n{output.read()[-2500:]}")
    print(taken)


main()
