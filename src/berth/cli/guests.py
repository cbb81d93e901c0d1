# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth list` and `berth show`: read from the ledger, without Ansible."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_item, print_rows

if TYPE_CHECKING:
    from berth.cloud import Cloud
    from berth.ledger.store import Ledger

LIST_COLUMNS = ("name", "project", "state", "task", "power", "host", "flavor", "image", "addresses")


def list_guests(
    ctx: typer.Context,
    project: Annotated[str | None, typer.Option("--project", help="Only this project.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Only guests on this host.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List the guests."""
    from berth.verbs.guest_view import guest_view

    cloud = ctx.obj.cloud
    with open_ledger(cloud) as ledger:
        rows, silent = ledger.guests(project=project, host=host), ledger.silent_hosts()
        warn_of_changed_inventory(cloud, ledger)
    shown = [guest_view(row, silent) for row in rows]
    _warn_of_stale(shown, silent)
    if fmt is Format.TABLE:
        shown = [{**row, "power": f"{row['power']}?" if row["stale"] else row["power"]} for row in shown]
    print_rows(shown, LIST_COLUMNS, fmt)


def _warn_of_stale(shown: list[dict[str, Any]], silent: Mapping[str, str]) -> None:
    """Says on stderr which hosts' guests are shown as they were when last seen."""
    for host in sorted({row["host"] for row in shown if row["stale"]}):
        print(f"warning: host {host}: {silent[host]}; its guests are as last seen: `berth sync`", file=sys.stderr)


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or UUID of the guest.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show everything about one guest."""
    from berth.verbs.guest_events import action_lines, action_views
    from berth.verbs.guest_names import find_guest, is_uuid
    from berth.verbs.guest_view import guest_details

    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        owner = project or context.cloud.settings.default_project
        row = ledger.guest_by_uuid(name) if is_uuid(name) else find_guest(ledger, name, owner)
        silent, events = ledger.silent_hosts(), ledger.events(row.uuid)
    shown = [guest_details(row, silent)]
    _warn_of_stale(shown, silent)
    actions: list[Any] = action_views(events)
    if fmt is Format.TABLE:
        actions = action_lines(actions)
    print_item({**shown[0], "actions": actions}, fmt)


def open_ledger(cloud: Cloud) -> Ledger:
    """Returns the cloud's ledger, made when there is none yet."""
    from berth.ledger.store import Ledger

    return Ledger.open(cloud.ledger_url)


def warn_of_changed_inventory(cloud: Cloud, ledger: Ledger) -> None:
    """Says on stderr when the inventory's files are not those of the last refresh."""
    from berth.verbs.host_refresh import inventory_digest

    recorded = ledger.inventory_digest()
    if recorded and recorded != inventory_digest(cloud.inventory_path):
        print("warning: the inventory changed since the last refresh; run `berth host refresh`", file=sys.stderr)
