# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth place`: where guests would go. Reads the ledger, books nothing, never starts Ansible."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger, warn_of_changed_inventory
from berth.cli.output import Format, FormatOption, print_item, print_rows


def place(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name that the guests would get.")],
    flavor: Annotated[str, typer.Option("--flavor", help="Flavor.")],
    image: Annotated[str, typer.Option("--image", help="Image.")],
    network: Annotated[list[str] | None, typer.Option("--network", help="Network; once per interface.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="How many guests.")] = 1,
    project: Annotated[str | None, typer.Option("--project", help="Project.")] = None,
    availability_zone: Annotated[str | None, typer.Option("--availability-zone", help="Only this zone.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Only this host.")] = None,
    ignore_host: Annotated[list[str] | None, typer.Option("--ignore-host", help="Not this host.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="Server group.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="Policy of a new group.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each host: refused by what, or its weights.")
    ] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show where guests would be placed, and with --explain why."""
    hints = {"force_host": host, "ignore_hosts": ignore_host}
    request: dict[str, Any] = {
        "name": name,
        "count": count,
        "flavor": flavor,
        "image": image,
        "networks": network,
        "project": project,
        "availability_zone": availability_zone,
        "group": {"name": group, "policy": policy} if group and policy else group,
        "hints": {key: value for key, value in hints.items() if value} or None,
    }
    _show(ctx.obj, {key: value for key, value in request.items() if value}, explain, fmt)


def _show(context: CliContext, asked: dict[str, Any], explain: bool, fmt: Format) -> None:
    from berth.spec.request import guest_names
    from berth.verbs.boot_request import placement_requests, resolve_request
    from berth.verbs.placing import decide

    cloud = context.cloud
    wanted = resolve_request(cloud, asked)
    identified = [(str(uuid.uuid4()), name) for name in guest_names(wanted.request)]
    with open_ledger(cloud) as ledger:
        requests = placement_requests(ledger, wanted, identified)
        decision, _fleet = decide(ledger, cloud, requests, now_s=time.time())
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
