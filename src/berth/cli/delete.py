# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth delete`: remove guests and all that belongs to them."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger
from berth.cli.output import Format, FormatOption, has_terminal, print_rows, printable
from berth.cli.progress import progress
from berth.errors import InvalidInput


def delete(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names of the guests.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guests.")] = None,
    host_is_gone: Annotated[
        str | None,
        typer.Option("--host-is-gone", metavar="HOST", help="Forget them without their host, which never returns."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Delete guests with their disks. Shows what will go and asks; where no one can be asked it wants --yes."""
    context: CliContext = ctx.obj
    if not yes:
        _ask(context, names, project, host_is_gone)

    from berth.runner import run_playbook

    given = {"names": names, "project": project, "host_is_gone": host_is_gone}
    request = {key: value for key, value in given.items() if value is not None}
    with progress(f"deleting {', '.join(names)}", quiet=context.debug) as observer:
        result = run_playbook(
            context.cloud, "guest_delete", {"berth_request": request}, observer=observer, debug=context.debug
        )
    result.raise_for_failure()
    print_rows(result.last["guests"], ("name", "state", "host", "uuid"), fmt)


def _ask(context: CliContext, names: list[str], project: str | None, host_is_gone: str | None) -> None:
    """Shows what will go, and asks. Raises InvalidInput when there is nobody to ask; the verb itself knows of locks."""
    from berth.verbs.guest_names import find_known
    from berth.verbs.guest_view import removal_view

    with open_ledger(context.cloud) as ledger:
        rows, unknown = find_known(ledger, names, project or context.cloud.settings.default_project)
    shown = [removal_view(row) for row in rows]
    lines = tuple(f"{row['name']} on {row['host']}: {row['disk_gib']} GiB, {', '.join(row['files'])}" for row in shown)
    if not has_terminal():
        raise InvalidInput(
            f"delete {', '.join(names)}: not confirmed",
            details=lines,
            hint="add --yes when no one can be asked",
            data={"guests": shown},
        )
    if host_is_gone is not None:
        typer.echo(f"These guests are forgotten; what is on {host_is_gone} of them is not touched:", err=True)
    else:
        typer.echo("These guests go, with their disks and everything recorded of them:", err=True)
    for line in lines:
        typer.echo(f"  {printable(line)}", err=True)
    for name in unknown:
        typer.echo(f"  {printable(name)}: not in the ledger; what a cut off run left of it is ended", err=True)
    if not typer.confirm("Delete them?", err=True):
        raise typer.Exit(1)
