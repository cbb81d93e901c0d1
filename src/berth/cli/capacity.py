# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth capacity`: how much more fits, and what a dead host would cost."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli.boot_options import Profile
from berth.cli.context import CliContext
from berth.cli.guests import open_ledger, warn_of_changed_inventory
from berth.cli.output import Format, FormatOption, print_item, print_lines, print_rows, printable

if TYPE_CHECKING:
    from berth.placement import FlavorCapacity

MOST_BARS = 30


def capacity(
    ctx: typer.Context,
    flavor: Annotated[
        list[str] | None, typer.Option("--flavor", help="This flavor, host by host; repeatable. All without.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="For guests of this project.")] = None,
    profile: Profile = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show how many more guests of each flavor fit, what is stranded, and whether guests would survive a host (N+1)."""
    from berth.verbs.fleet_questions import capacity_now

    context: CliContext = ctx.obj
    cloud = context.cloud
    owner = project or cloud.settings.default_project
    with open_ledger(cloud) as ledger:
        found = capacity_now(ledger, cloud, flavor or (), now_s=time.time(), project=owner, profile=profile)
        warn_of_changed_inventory(cloud, ledger)
    for line in found.left_out:
        print(f"warning: left out: {printable(line)}", file=sys.stderr)
    if fmt is not Format.TABLE:
        print_item(found.to_dict(), fmt)
        return
    for one in found.flavors:
        _draw(one, hosts=bool(flavor))
    typer.echo("If one host dies, how many of its guests start elsewhere:")
    print_rows([host.to_dict() for host in found.survival], ("host", "guests", "restarted", "lost"), fmt)


def _draw(flavor: FlavorCapacity, *, hosts: bool) -> None:
    """Prints a flavor's counts as bars: coloured ones in a terminal, else as text."""
    if not sys.stdout.isatty():
        print_lines([*flavor.lines(hosts=hosts), ""])
        return
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for title, counts in flavor.counts(hosts=hosts).items():
        most = max(counts.values())
        for name, count in list(counts.items())[:MOST_BARS]:
            colour = "green" if count else "red"
            table.add_row(title, Text(name), Bar(most, 0, count, width=40, color=colour), str(count))
        if len(counts) > MOST_BARS:
            table.add_row(title, f"and {len(counts) - MOST_BARS} more", "", "")
    console = Console()
    console.print(Text(f"{flavor.flavor}: {flavor.total} more", style="bold"))
    console.print(table)
    for line in flavor.stranded_lines():
        console.print(Text(f"  {line}"))
    console.print()
