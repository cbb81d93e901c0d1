# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth quota`: what projects use of what they may use."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger
from berth.cli.output import Format, FormatOption, print_rows

app = typer.Typer(no_args_is_help=True, help="Quotas of projects, from catalog/projects.yml.")
COLUMNS = ("project", "resource", "per", "used", "limit", "left")


@app.command("show")
def show(
    ctx: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Name of the project; all without.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show what a project uses, its limits and what is left. A limit `-` is none."""
    from berth.errors import NotFound
    from berth.spec.load import load_catalog
    from berth.verbs.quota_view import ledger_quota, quota_rows

    context: CliContext = ctx.obj
    projects = load_catalog(context.cloud.catalog_path).projects
    if project is not None and project not in projects:
        raise NotFound(f"no project {project!r}", hint=f"catalog/projects.yml has: {', '.join(projects)}")
    rows = []
    with open_ledger(context.cloud) as ledger:
        for name in projects if project is None else (project,):
            used, groups = ledger.project_usage(name), len(ledger.groups(name))
            rows += quota_rows(name, ledger_quota(projects[name].quota), used, groups)
    print_rows(rows, COLUMNS, fmt)
