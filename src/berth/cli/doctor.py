# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth doctor`: checks everything that a boot needs, and says how to mend what is missing."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress
from berth.errors import HostFailed

COLUMNS = ("host", "check", "status", "found", "fix")


def doctor(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(help="Hosts or groups of the inventory; all without.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Check everything a boot needs. Changes nothing on the hosts; fails when guests would not boot on one."""
    from berth.runner import run_playbook

    context: CliContext = ctx.obj
    variables = {"berth_hosts": hosts} if hosts else {}
    with progress("examining the hosts", quiet=context.debug) as observer:
        result = run_playbook(context.cloud, "host_doctor", variables, observer=observer, debug=context.debug)
    result.raise_for_failure()
    findings: list[dict[str, Any]] = result.last["findings"]
    print_rows(findings, COLUMNS, fmt)
    _conclude(findings)


def _conclude(findings: list[dict[str, Any]]) -> None:
    failed = [finding for finding in findings if finding["status"] == "fail"]
    warned = sum(finding["status"] == "warn" for finding in findings)
    if failed:
        names = ", ".join(sorted({finding["host"] for finding in failed}))
        raise HostFailed(
            f"{len(failed)} of {len(findings)} checks failed, {warned} with warnings: {names}",
            hint="the column FIX says what to do for each",
            data={"failed": failed},
        )
    print(f"{len(findings)} checks, {warned} with warnings: guests can boot", file=sys.stderr)
