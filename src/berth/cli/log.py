# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth log`: the end of a guest's console log."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.errors import HostFailed


def log(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the guest.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many lines.")] = 100,
) -> None:
    """Print the end of a guest's console log, read from its host."""
    from berth.runner import run_playbook

    context: CliContext = ctx.obj
    request = {"name": name, "lines": lines, **({"project": project} if project else {})}
    result = run_playbook(context.cloud, "guest_log", {"berth_request": request}, debug=context.debug)
    result.raise_for_failure()
    read = result.of_task("ansible.builtin.command")
    if not read:
        raise HostFailed(
            f"guest {name}: its console log could not be read", hint="is its host up? `berth doctor` tells"
        )
    typer.echo(next(iter(read.values())).get("stdout", ""))
