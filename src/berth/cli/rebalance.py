# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth rebalance`: live migrations that would even out the fleet, as a plan."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from berth.cli.boot_options import Profile
from berth.cli.context import CliContext
from berth.cli.guests import open_ledger, warn_of_changed_inventory
from berth.cli.output import Format, FormatOption, print_item, print_rows

METRIC = "sum over vCPUs, memory and disk of the standard deviation of used / limit over the usable hosts"
COLUMNS = ("guest", "source", "destination", "imbalance_after", "uuid")


def rebalance(
    ctx: typer.Context,
    profile: Profile = None,
    least_gain: Annotated[
        float,
        typer.Option(
            "--least-gain", min=0.0001, max=1e6, help="What a move must gain, as a part of imbalance / usable hosts."
        ),
    ] = 0.1,
    most_moves: Annotated[int, typer.Option("--most-moves", min=1, max=1000, help="How many moves at most.")] = 10,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show live migrations, in order, that would even out the load of the hosts. Moves nothing."""
    from berth.placement import Limits
    from berth.verbs.fleet_questions import rebalance_plan

    context: CliContext = ctx.obj
    cloud, limits = context.cloud, Limits(least_gain, most_moves)
    with open_ledger(cloud) as ledger:
        plan = rebalance_plan(ledger, cloud, now_s=time.time(), profile=profile, limits=limits)
        warn_of_changed_inventory(cloud, ledger)
    if fmt is not Format.TABLE:
        print_item({"metric": METRIC, **plan.to_dict()}, fmt)
        return
    rows = [{**move.to_dict(), "imbalance_after": f"{move.imbalance_after:.3f}"} for move in plan.moves]
    print_rows(rows, COLUMNS, fmt)
    print(f"imbalance {plan.imbalance_before:.3f}, then {plan.imbalance_after:.3f}: {METRIC}", file=sys.stderr)
