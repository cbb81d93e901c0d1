# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth host`: the compute hosts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger, warn_of_changed_inventory
from berth.cli.output import Format, FormatOption, print_item, print_rows, write_new
from berth.cli.progress import progress
from berth.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from berth.runner import RunResult

app = typer.Typer(no_args_is_help=True, help="Compute hosts: prepare, refresh, list, enable, disable, export.")

Hosts = Annotated[list[str] | None, typer.Argument(help="Hosts or groups of the inventory; all without.")]
Name = Annotated[str, typer.Argument(help="Name of the host.")]

LIST_COLUMNS = ("name", "state", "zone", "domain_type", "guests", "vcpus", "memory_mib", "disk_mib", "facts_age")
REFRESH_COLUMNS = ("name", "status", "domain_type", "message")
PREPARE_COLUMNS = ("name", "prepared", "status", "domain_type", "message")


@app.command("prepare")
def prepare(ctx: typer.Context, hosts: Hosts = None, fmt: FormatOption = Format.TABLE) -> None:
    """Make Linux machines compute hosts: packages, folders, libvirtd, certificates, networks; then read their facts."""
    context: CliContext = ctx.obj
    made = _run(context, "host_prepare", "preparing hosts", hosts, {})
    made.raise_unless_hosts_failed()
    # Also after a failure: without their facts the hosts that are ready would get no guests.
    asked = _refresh(context, hosts, probe="auto")
    ready, rows = made.last.get("prepared", []), asked.last.get("refreshed", [])
    if rows:
        print_rows([{**row, "prepared": row["name"] in ready} for row in rows], PREPARE_COLUMNS, fmt)
    _raise_for_unprepared(made, ready)
    asked.raise_for_failure()
    _raise_for_nobody(rows, hosts)
    raise_if_partial(rows)


@app.command("refresh")
def refresh(
    ctx: typer.Context,
    hosts: Hosts = None,
    probe: Annotated[bool, typer.Option("--probe", help="Try KVM again, also where the answer is known.")] = False,
    accept: Annotated[
        str | None, typer.Option("--accept", help="Accept this host although its machine id changed.")
    ] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Read the hosts' facts into the ledger."""
    context: CliContext = ctx.obj
    if accept:
        with open_ledger(context.cloud) as ledger:
            ledger.accept_host(accept)
    result = _refresh(context, hosts, probe="force" if probe else "auto")
    result.raise_for_failure()
    _raise_for_nobody(result.last["refreshed"], hosts)
    print_rows(result.last["refreshed"], REFRESH_COLUMNS, fmt)
    for row in result.last["guests"]:
        typer.echo(f"{row['kind']}: {row['guest'] or 'host'} on {row['host']}: {row['found']}", err=True)
    if not result.last["refreshed"]:
        typer.echo("warning: no compute hosts: list yours under `compute` in inventory/hosts.yml", err=True)
    raise_if_partial(result.last["refreshed"])


@app.command("list")
def list_hosts(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List the hosts as the ledger knows them."""
    from berth.verbs.host_view import host_views

    cloud = ctx.obj.cloud
    with open_ledger(cloud) as ledger:
        rows = host_views(ledger)
        warn_of_changed_inventory(cloud, ledger)
    print_rows(rows, LIST_COLUMNS, fmt)


@app.command("show")
def show(ctx: typer.Context, name: Name, fmt: FormatOption = Format.TABLE) -> None:
    """Show everything about one host."""
    from berth.verbs.host_view import host_details

    with open_ledger(ctx.obj.cloud) as ledger:
        print_item(host_details(ledger, name), fmt)


@app.command("export")
def export(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="File to write; it must not exist. Standard output without.")
    ] = None,
    fmt: FormatOption = Format.YAML,
) -> None:
    """Write the live fleet as a file for `berth simulate`: hosts, guests, aggregates, server groups and profiles."""
    from berth.verbs.fleet_questions import exported_fleet

    context: CliContext = ctx.obj
    if fmt is Format.TABLE:
        raise InvalidInput("host export: no table can hold a fleet", hint="--format yaml or --format json")
    with open_ledger(context.cloud) as ledger:
        fleet = exported_fleet(ledger, context.cloud, now_s=time.time())
        warn_of_changed_inventory(context.cloud, ledger)
    if file is None:
        print_item(fleet, fmt)
        return
    write_new(file, fleet, fmt)
    typer.echo(f"{file}: written")


@app.command("enable")
def enable(ctx: typer.Context, name: Name, fmt: FormatOption = Format.TABLE) -> None:
    """Let new guests be placed on a host again."""
    _set_enabled(ctx.obj, name, True, "", fmt)


@app.command("disable")
def disable(
    ctx: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, for everyone who looks.")] = "",
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Keep new guests away from a host. Its guests stay."""
    _set_enabled(ctx.obj, name, False, reason, fmt)


def _set_enabled(context: CliContext, name: str, enabled: bool, reason: str, fmt: Format) -> None:
    from berth.verbs.host_view import host_details

    with open_ledger(context.cloud) as ledger:
        ledger.set_host_enabled(name, enabled, reason)
        found = host_details(ledger, name)
    if fmt is Format.TABLE:
        typer.echo(f"host {name}: {'enabled' if enabled else 'disabled'}")
    else:
        print_item({key: found[key] for key in ("name", "state", "enabled", "disabled_reason")}, fmt)


@app.command("start-guests")
def start_guests(
    ctx: typer.Context,
    name: Name,
    accept_silent_hosts: Annotated[
        bool, typer.Option("--accept-silent-hosts", help="Start although hosts that do not answer may run them.")
    ] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Start, after a host's boot, the guests recorded as active there, once no other host has them.

    Locked guests are left as they are, and listed with who locked them.
    """
    request = {"host": name, "accept_silent_hosts": accept_silent_hosts}
    result = _run(ctx.obj, "host_start_guests", f"starting the guests of {name}", None, {"berth_request": request})
    result.raise_for_failure()
    print_rows(result.last["guests"], ("name", "state", "host", "uuid", "locked"), fmt)


def _refresh(context: CliContext, hosts: list[str] | None, *, probe: str) -> RunResult:
    return _run(context, "host_refresh", "reading facts", hosts, {"berth_probe_kvm": probe})


def _run(
    context: CliContext, playbook: str, title: str, hosts: list[str] | None, variables: dict[str, Any]
) -> RunResult:
    from berth.runner import run_playbook

    chosen = {"berth_hosts": hosts} if hosts else {}
    with progress(title, quiet=context.debug) as observer:
        return run_playbook(context.cloud, playbook, {**variables, **chosen}, observer=observer, debug=context.debug)


def _raise_for_unprepared(made: RunResult, ready: list[str]) -> None:
    """Raises Partial when hosts failed and others are ready, HostFailed when none is."""
    from berth.errors import Partial

    failed = made.failed_hosts
    if failed and not ready:
        made.raise_for_failure()
    if failed:
        raise Partial(
            f"{len(failed)} of {len({*failed, *ready})} hosts were not prepared",
            details=made.failed_lines(),
            hint="the others are ready; mend these and run the same again",
            data={"failed": failed, "prepared": ready},
        )


def _raise_for_nobody(rows: list[dict[str, Any]], asked: list[str] | None) -> None:
    """Raises NotFound when hosts were asked for and none is meant: to Ansible a pattern without matches is fine."""
    if asked and not rows:
        raise NotFound(
            f"hosts: {', '.join(asked)} matches no compute host",
            hint="`berth host list` shows them; a host is a member of the inventory's group `compute`",
        )


def raise_if_partial(refreshed: list[dict[str, Any]]) -> None:
    """Raises Partial when some of the hosts that were asked did not answer."""
    from berth.errors import Partial

    silent = [row for row in refreshed if row["status"] != "ok"]
    if silent:
        raise Partial(
            f"{len(silent)} of {len(refreshed)} hosts did not answer",
            details=tuple(f"{row['name']}: {row['message']}" for row in silent),
            hint="the others are up to date; `berth doctor` tells more",
        )
