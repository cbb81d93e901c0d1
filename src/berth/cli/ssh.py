# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth ssh`: a shell or a command in a guest, over the host key that its boot recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli.context import CliContext

if TYPE_CHECKING:
    from berth.access import Route
    from berth.cloud import Cloud
    from berth.ledger.rows import GuestRow, HostRow
    from berth.login import Login

# A guest's system takes seconds to ask for an address.
LEASE_PAUSE_S = 2.0


def ssh(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or UUID of the guest.")],
    command: Annotated[list[str] | None, typer.Argument(help="Command; without one, a shell.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    identity: Annotated[
        Path | None, typer.Option("--identity", "-i", help="Private key to log in with.", exists=True, dir_okay=False)
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-l", help="Another user than the image's.")] = None,
) -> None:
    """Open a shell in a guest, or run a command there. The exit status is that of the command."""
    from dataclasses import replace

    from berth.login import Keyring, become_ssh, ssh_argv

    context: CliContext = ctx.obj
    (route,) = guest_routes(context.cloud, [name], project)
    route = replace(route, user=user) if user else route
    become_ssh(ssh_argv(route, Keyring.of(context.cloud.path, identity), command or ()))


def wait_for_guests(
    cloud: Cloud,
    names: Sequence[str],
    *,
    project: str | None = None,
    timeout_s: float,
    identity: Path | None = None,
    on_login: Callable[[Login], None] | None = None,
) -> list[Login]:
    """Returns once a command has run in each guest. Raises HostFailed when that takes longer than `timeout_s`.

    Where libvirt's DHCP gives the address, the guests' hosts are asked for it until they have leased one.
    """
    from berth.login import Keyring, raise_for_missing, wait_for_logins

    deadline = time.monotonic() + timeout_s
    while (hosts := _leasing_hosts(cloud, names, project)) and time.monotonic() < deadline:
        _ask_for_leases(cloud, hosts)
    routes = guest_routes(cloud, names, project)
    left_s = max(deadline - time.monotonic(), 1.0)
    logins = wait_for_logins(routes, Keyring.of(cloud.path, identity), timeout_s=left_s, on_login=on_login)
    raise_for_missing(logins, timeout_s)
    return logins


def _leasing_hosts(cloud: Cloud, names: Sequence[str], project: str | None) -> list[str]:
    """Returns the hosts that have not told yet which addresses they leased to these guests."""
    from berth.access import waits_for_lease

    found = _guests_and_hosts(cloud, names, project)
    return sorted({host.name for guest, host in found if waits_for_lease(guest, host)})


def _ask_for_leases(cloud: Cloud, hosts: list[str]) -> None:
    from berth.runner import run_playbook

    time.sleep(LEASE_PAUSE_S)
    run_playbook(cloud, "host_refresh", {"berth_hosts": hosts}).raise_for_failure()


def guest_routes(cloud: Cloud, names: Sequence[str], project: str | None) -> list[Route]:
    """Returns the way to each guest. Raises NotFound for unknown names, Conflict for a guest that cannot be reached."""
    from berth.access import guest_route

    return [guest_route(guest, host) for guest, host in _guests_and_hosts(cloud, names, project)]


def _guests_and_hosts(cloud: Cloud, names: Sequence[str], project: str | None) -> list[tuple[GuestRow, HostRow]]:
    """Returns each guest with its host. Raises NotFound for unknown names, Conflict for a guest that is on no host."""
    from berth.cli.guests import open_ledger
    from berth.errors import Conflict
    from berth.verbs.guest_names import find_guests

    with open_ledger(cloud) as ledger:
        guests = find_guests(ledger, names, project or cloud.settings.default_project)
        hosts = {host.name: host for host in ledger.hosts()}
    for guest in guests:
        if guest.host is None:
            raise Conflict(
                f"guest {guest.name}: it is on no host; it is {guest.vm_state}", hint=f"`berth show {guest.name}`"
            )
    return [(guest, hosts[str(guest.host)]) for guest in guests]
