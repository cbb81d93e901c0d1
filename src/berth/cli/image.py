# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth image pull`: bring images to the hosts before they are needed."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress


def pull(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Images of the catalog; all without.")] = None,
    hosts: Annotated[list[str] | None, typer.Option("--host", help="Only this host or group.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Make images present in the hosts' caches, digests checked and headers inspected. A host that fails is named."""
    from berth.runner import run_playbook

    context: CliContext = ctx.obj
    variables = {"berth_request": {"images": names or []}, **({"berth_hosts": hosts} if hosts else {})}
    with progress("pulling images", quiet=context.debug) as observer:
        result = run_playbook(context.cloud, "image_pull", variables, observer=observer, debug=context.debug)
    result.raise_for_failure()
    print_rows(result.last["images"], ("host", "name", "ok", "changed", "digest", "message"), fmt)
