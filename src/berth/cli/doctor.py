# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth doctor`: checks everything that a boot needs and whether ledger and hosts agree, and mends what is safe."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, has_terminal, print_rows, printable
from berth.cli.progress import progress
from berth.errors import HostFailed

COLUMNS = ("host", "check", "status", "found", "fix")
Finding = dict[str, Any]


def doctor(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(help="Hosts or groups of the inventory; all without.")] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what loses nothing; ask, on a terminal, for the rest.")
    ] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Check everything a boot needs, and whether ledger and hosts agree. Changes nothing without --fix."""
    context: CliContext = ctx.obj
    findings = _examine(context, hosts)
    if fix:
        keys = _agreed(findings)
        if keys:
            _mend(context, keys)
            findings = _examine(context, hosts)
    print_rows(findings, COLUMNS, fmt)
    _conclude(findings, fixed=fix)


def _examine(context: CliContext, hosts: list[str] | None) -> list[Finding]:
    from berth.runner import run_playbook

    variables = {"berth_hosts": hosts} if hosts else {}
    with progress("examining the hosts", quiet=context.debug) as observer:
        result = run_playbook(context.cloud, "host_doctor", variables, observer=observer, debug=context.debug)
    result.raise_for_failure()
    findings: list[Finding] = result.last["findings"]
    return findings


def _agreed(findings: list[Finding]) -> list[str]:
    """Returns the keys of what is mended: all that is safe, and what the operator says yes to."""
    keys = [finding["key"] for finding in findings if finding["mend"] == "safe"]
    asked = [finding for finding in findings if finding["mend"] == "ask"]
    if not has_terminal():
        return keys
    for finding in asked:
        typer.echo(printable(f"{finding['host']}: {finding['found']}"), err=True)
        typer.echo(f"  {printable(finding['fix'])}", err=True)
        if typer.confirm("  Do it?", default=False, err=True):
            keys.append(finding["key"])
    return keys


def _mend(context: CliContext, keys: list[str]) -> None:
    from berth.runner import run_playbook

    with progress("mending", quiet=context.debug) as observer:
        variables = {"berth_request": {"keys": keys}}
        result = run_playbook(context.cloud, "host_mend", variables, observer=observer, debug=context.debug)
    result.raise_for_failure()
    for row in result.last["mended"]:
        typer.echo(printable(f"{'mended' if row['ok'] else 'not mended'}: {row['key']}: {row['message']}"), err=True)


def _conclude(findings: list[Finding], *, fixed: bool) -> None:
    failed = [finding for finding in findings if finding["status"] == "fail"]
    warned = sum(finding["status"] == "warn" for finding in findings)
    safe = sum(finding["mend"] == "safe" for finding in findings)
    asked = sum(finding["mend"] == "ask" for finding in findings)
    if safe and not fixed:
        print(f"{safe} can be mended without losing anything: `berth doctor --fix`", file=sys.stderr)
    if asked:
        print(f"{asked} need an answer: `berth doctor --fix` on a terminal asks", file=sys.stderr)
    if failed:
        names = ", ".join(sorted({finding["host"] for finding in failed}))
        raise HostFailed(
            f"{len(failed)} of {len(findings)} checks failed, {warned} with warnings: {names}",
            hint="the column FIX says what to do for each",
            data={"failed": failed},
        )
    print(f"{len(findings)} checks, {warned} with warnings: guests can boot", file=sys.stderr)
