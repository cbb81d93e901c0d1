# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth simulate`: play requests on a fleet that is only a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from berth.cli.output import Format, FormatOption, print_item, print_lines
from berth.errors import InvalidInput, NoValidHost

Fleet = Annotated[
    Path | None,
    typer.Argument(metavar="FLEET.yml", help="Hosts, aggregates, groups and profiles; `berth host export`."),
]
Requests = Annotated[Path | None, typer.Argument(metavar="REQUESTS.yml", help="Flavors and requests.")]


def simulate(
    fleet: Fleet = None,
    requests: Requests = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each host: refused by what, or its weights.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of profiles that choose by chance.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of both files, and end.")] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Play requests on a fleet: survivors after each filter, the choice, the fleet after. Needs no cloud.

    Exit status 5 when a request was not served; the others were.
    """
    if schema:
        from berth.placement import schema as both

        print_item(both(), Format.JSON if fmt is Format.TABLE else fmt)
        return
    if fleet is None or requests is None:
        raise InvalidInput(
            "simulate: needs two files", hint="berth simulate FLEET.yml REQUESTS.yml; --schema tells more"
        )
    from berth.verbs.simulation import play

    played = play(fleet, requests, seed=seed)
    if fmt is Format.TABLE:
        print_lines(played.simulation.lines(explain=explain))
    else:
        print_item(played.to_dict(), fmt)
    refused = [outcome for outcome in played.simulation.outcomes if not outcome.ok]
    if refused:
        raise NoValidHost(
            f"{len(refused)} of {len(played.simulation.outcomes)} requests were not served",
            details=tuple(outcome.reports[-1].summary for outcome in refused),
            hint="--explain shows each host",
        )
