# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth lock` and `berth unlock`: keep verbs away from guests."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger
from berth.cli.output import Format, FormatOption, print_rows

Names = Annotated[list[str], typer.Argument(help="Names of the guests.")]
Project = Annotated[str | None, typer.Option("--project", help="Project of the guests.")]


def lock(
    ctx: typer.Context,
    names: Names,
    reason: Annotated[str, typer.Option("--reason", help="Why, for everyone who runs into it.")] = "no reason given",
    project: Project = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Refuse every verb that changes these guests until they are unlocked."""
    rows = _each(ctx.obj, names, project, reason)
    _tell("locked", names, rows, fmt)


def unlock(ctx: typer.Context, names: Names, project: Project = None, fmt: FormatOption = Format.TABLE) -> None:
    """Let verbs change these guests again."""
    rows = _each(ctx.obj, names, project, None)
    _tell("unlocked", names, rows, fmt)


def _each(context: CliContext, names: list[str], project: str | None, reason: str | None) -> list[dict[str, Any]]:
    """Returns the guests as they are shown, locked for that reason, or unlocked without one."""
    from berth.ledger.owner import Owner
    from berth.verbs.guest_names import find_guests
    from berth.verbs.guest_view import guest_view, lock_view

    owner = project or context.cloud.settings.default_project
    with open_ledger(context.cloud) as ledger:
        uuids = [row.uuid for row in find_guests(ledger, names, owner)]
        if reason is None:
            ledger.unlock_guests(uuids)
        else:
            ledger.lock_guests(uuids, by=Owner.of_process().who, reason=reason)
        silent = ledger.silent_hosts()
        return [{**guest_view(row, silent), "locked": lock_view(row)} for row in find_guests(ledger, names, owner)]


def _tell(done: str, names: list[str], rows: list[dict[str, Any]], fmt: Format) -> None:
    if fmt is Format.TABLE:
        typer.echo(f"{done}: {', '.join(names)}")
    else:
        print_rows(rows, (), fmt)
