# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth list` and `berth show`: read from the ledger, without Ansible."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

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
        rows = ledger.guests(project=project, host=host)
        warn_of_changed_inventory(cloud, ledger)
    print_rows([guest_view(row) for row in rows], LIST_COLUMNS, fmt)


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or UUID of the guest.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show everything about one guest."""
    from berth.verbs.guest_names import find_guest
    from berth.verbs.guest_view import guest_details

    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        row = find_guest(ledger, name, project or context.cloud.settings.default_project)
    print_item(guest_details(row), fmt)


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
