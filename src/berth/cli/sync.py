# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth sync`: the guests as their hosts show them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.host import raise_if_partial
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress

COLUMNS = ("kind", "guest", "host", "found", "fix")


def sync(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(help="Hosts or groups of the inventory; all without.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Read power states and places of the guests from the hosts. Records what is certain, tells the rest."""
    from berth.runner import run_playbook

    context: CliContext = ctx.obj
    variables = {"berth_hosts": hosts} if hosts else {}
    with progress("reading the guests", quiet=context.debug) as observer:
        result = run_playbook(context.cloud, "host_refresh", variables, observer=observer, debug=context.debug)
    result.raise_for_failure()
    refreshed, rows = result.last["refreshed"], result.last["guests"]
    print_rows(rows, COLUMNS, fmt)
    raise_if_partial(refreshed)
    if not rows:
        print(f"{len(refreshed)} hosts: all guests are as recorded", file=sys.stderr)
