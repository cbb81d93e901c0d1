# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth place`: where guests would go. Reads the ledger, books nothing, never starts Ansible."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

import typer

from berth.cli import boot_options as options
from berth.cli.context import CliContext
from berth.cli.guests import open_ledger, warn_of_changed_inventory
from berth.cli.output import Format, FormatOption, print_item, print_rows


def place(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name that the guests would get.")],
    flavor: options.Flavor,
    image: options.Image,
    network: options.Networks = None,
    count: options.Count = 1,
    project: options.Project = None,
    availability_zone: options.Zone = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    host: options.Destination = None,
    force_host: options.ForceHost = None,
    force_node: options.ForceNode = None,
    ignore_host: options.IgnoreHosts = None,
    different_host: options.DifferentHost = None,
    same_host: options.SameHost = None,
    build_near_host_ip: options.NearIp = None,
    cidr: options.Cidr = None,
    query: options.Query = None,
    group: options.Group = None,
    policy: options.Policy = None,
    max_server_per_host: options.MaxServerPerHost = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each host: refused by what, or its weights.")
    ] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show where guests would be placed, and with --explain why."""
    _show(ctx.obj, options.request_of(ctx.params), explain, fmt)


def _show(context: CliContext, asked: dict[str, Any], explain: bool, fmt: Format) -> None:
    from berth.spec.request import guest_names
    from berth.verbs.boot_request import choosing, placement_requests, resolve_request
    from berth.verbs.placing import decide

    cloud = context.cloud
    wanted = resolve_request(cloud, asked)
    identified = [(str(uuid.uuid4()), name) for name in guest_names(wanted.request)]
    with open_ledger(cloud) as ledger:
        requests = placement_requests(ledger, wanted, identified)
        decision, _fleet = decide(ledger, cloud, requests, now_s=time.time(), how=choosing(wanted.request))
        warn_of_changed_inventory(cloud, ledger)
    if not decision.ok:
        raise decision.error()
    reports = [decision.explain(index) for index in range(len(requests))] if explain else []
    if fmt is not Format.TABLE:
        reported = {"reports": [report.to_dict() for report in reports]} if explain else {}
        print_item({"placements": [one.to_dict() for one in decision.placements], **reported}, fmt)
        return
    for report in reports:
        typer.echo("\n".join(report.lines()) + "\n")
    rows = [
        {"guest": one.request.name, "host": one.host, "alternates": list(one.alternates)} for one in decision.placements
    ]
    print_rows(rows, ("guest", "host", "alternates"), fmt)
