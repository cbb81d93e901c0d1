# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth delete`: remove guests and all that belongs to them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress
from berth.errors import InvalidInput


def delete(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names of the guests.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guests.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Delete guests with their disks. Asks first on a terminal; elsewhere it wants --yes."""
    context: CliContext = ctx.obj
    if not yes:
        _ask(names)

    from berth.runner import run_playbook

    request = {"names": names, **({"project": project} if project else {})}
    with progress(f"deleting {', '.join(names)}", quiet=context.debug) as observer:
        result = run_playbook(
            context.cloud, "guest_delete", {"berth_request": request}, observer=observer, debug=context.debug
        )
    result.raise_for_failure()
    print_rows(result.last["guests"], ("name", "state", "host", "uuid"), fmt)


def _ask(names: list[str]) -> None:
    if not sys.stdin.isatty():
        raise InvalidInput(f"delete {', '.join(names)}: not confirmed", hint="add --yes when no one can be asked")
    typer.echo("These guests and their disks will be deleted: " + ", ".join(names), err=True)
    if not typer.confirm("Delete them?", err=True):
        raise typer.Exit(1)
