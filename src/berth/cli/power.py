# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth start`, `berth stop` and `berth reboot`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress

Names = Annotated[list[str], typer.Argument(help="Names of the guests.")]
Project = Annotated[str | None, typer.Option("--project", help="Project of the guests.")]
Timeout = Annotated[int, typer.Option("--timeout", min=1, help="Seconds that a guest has to shut down by itself.")]
HostIsGone = Annotated[
    str | None,
    typer.Option("--host-is-gone", metavar="HOST", help="Start guests that this host ran; it never returns."),
]


def start(
    ctx: typer.Context,
    names: Names,
    project: Project = None,
    host_is_gone: HostIsGone = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Start stopped guests. One that another host shows running is refused."""
    _change(ctx.obj, {"names": names, "action": "start", "project": project, "host_is_gone": host_is_gone}, fmt)


def stop(
    ctx: typer.Context,
    names: Names,
    project: Project = None,
    hard: Annotated[bool, typer.Option("--hard", help="Cut the power of a guest that does not shut down.")] = False,
    timeout_s: Timeout = 60,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Shut guests down. A guest that ignores it stays on, and is named, unless --hard is given."""
    request = {"names": names, "action": "stop", "project": project, "hard": hard, "timeout_s": timeout_s}
    _change(ctx.obj, request, fmt)


def reboot(
    ctx: typer.Context,
    names: Names,
    project: Project = None,
    hard: Annotated[bool, typer.Option("--hard", help="Cut the power and start again.")] = False,
    timeout_s: Timeout = 60,
    host_is_gone: HostIsGone = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Reboot guests. One that another host shows running is refused."""
    request = {"names": names, "action": "reboot", "project": project, "hard": hard, "timeout_s": timeout_s}
    _change(ctx.obj, {**request, "host_is_gone": host_is_gone}, fmt)


def _change(context: CliContext, request: dict[str, Any], fmt: Format) -> None:
    from berth.runner import run_playbook

    asked = {key: value for key, value in request.items() if value is not None}
    with progress(f"{request['action']}: {', '.join(request['names'])}", quiet=context.debug) as observer:
        result = run_playbook(
            context.cloud, "guest_power", {"berth_request": asked}, observer=observer, debug=context.debug
        )
    result.raise_for_failure()
    print_rows(result.last["guests"], ("name", "state", "host", "uuid"), fmt)
