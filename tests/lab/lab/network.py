# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges, the route that keeps lab packets on this machine, and the archive proxy."""

import os
import signal
import sys
from pathlib import Path

from lab.layout import PREFIX, Layout
from lab.shell import is_running, run, spawn, succeeds, wait_for

GUARD = ("unreachable", f"{PREFIX}.0.0/16", "metric", "4096")


def guard() -> None:
    """No packet to any lab address leaves this machine: without a lab's own route it is refused here.

    Comes first and stays when a lab goes, else its last packets would follow the default route.
    """
    run("ip", "route", "replace", *GUARD)


def unguard() -> None:
    """Remove the guard route; only for when no lab is up."""
    succeeds("ip", "route", "del", *GUARD)


def up(layout: Layout) -> None:
    """Guarantee the guard route and both bridges with this machine's addresses."""
    guard()
    for bridge, address in zip(layout.bridges, layout.gateways, strict=True):
        if not succeeds("ip", "link", "show", bridge):
            run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6").write_text("1")
        run("ip", "addr", "replace", f"{address}/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")


def down(layout: Layout) -> None:
    """Remove the bridges; the guard route stays."""
    for bridge in layout.bridges:
        succeeds("ip", "link", "del", bridge)


def proxy_up(layout: Layout) -> None:
    """Start the archive proxy unless it runs."""
    if _proxy_pid(layout):
        return
    argv = [sys.executable, "-m", "lab.aptproxy", layout.gateways[0], str(layout.proxy_port), str(layout.debs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pid = spawn(argv, layout.dir / "aptproxy.log", environment)
    (layout.dir / "aptproxy.pid").write_text(f"{pid}\n")


def proxy_down(layout: Layout) -> None:
    """Stop the archive proxy."""
    pid = _proxy_pid(layout)
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: _proxy_pid(layout) is None, 5)
    (layout.dir / "aptproxy.pid").unlink(missing_ok=True)


def _proxy_pid(layout: Layout) -> int | None:
    try:
        pid = int((layout.dir / "aptproxy.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if is_running(pid, layout.gateways[0]) else None
