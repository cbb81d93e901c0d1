# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth lock` and `berth unlock`: keep verbs away from guests."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger

Names = Annotated[list[str], typer.Argument(help="Names of the guests.")]
Project = Annotated[str | None, typer.Option("--project", help="Project of the guests.")]


def lock(
    ctx: typer.Context,
    names: Names,
    reason: Annotated[str, typer.Option("--reason", help="Why, for everyone who runs into it.")] = "no reason given",
    project: Project = None,
) -> None:
    """Refuse every verb that changes these guests until they are unlocked."""
    _each(ctx.obj, names, project, reason)
    typer.echo(f"locked: {', '.join(names)}")


def unlock(ctx: typer.Context, names: Names, project: Project = None) -> None:
    """Let verbs change these guests again."""
    _each(ctx.obj, names, project, None)
    typer.echo(f"unlocked: {', '.join(names)}")


def _each(context: CliContext, names: list[str], project: str | None, reason: str | None) -> None:
    from berth.verbs.guest_names import find_guests

    with open_ledger(context.cloud) as ledger:
        rows = find_guests(ledger, names, project or context.cloud.settings.default_project)
        uuids = [row.uuid for row in rows]
        if reason is None:
            ledger.unlock_guests(uuids)
        else:
            ledger.lock_guests(uuids, by=getpass.getuser(), reason=reason)
