# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth events`: the whole history of one guest, from the journal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger
from berth.cli.output import Format, FormatOption, print_item, print_rows

WHAT = ("action", "request_id", "verb", "who", "step", "host")
COLUMNS = (*WHAT, "started_at", "ended_at", "seconds", "outcome", "error")


def events(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or UUID of the guest, also of one that is gone.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show what was done to a guest: each action with its steps, times and errors."""
    from berth.verbs.guest_events import event_rows, event_views, find_any_guest

    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        guest = find_any_guest(ledger, name, project or context.cloud.settings.default_project)
        found = ledger.events(guest.uuid)
    if fmt is Format.TABLE:
        print_rows(event_rows(found), COLUMNS, fmt)
    else:
        shown: dict[str, Any] = {"guest": guest.name, "uuid": guest.uuid, "actions": event_views(found)}
        print_item(shown, fmt)
