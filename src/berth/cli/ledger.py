# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth ledger`: check, mend, copy and rebuild the record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.guests import open_ledger
from berth.cli.output import Format, FormatOption, print_item, print_rows
from berth.errors import Conflict, InvalidInput, Partial

if TYPE_CHECKING:
    from berth.ledger.consistency import Finding

app = typer.Typer(no_args_is_help=True, help="The ledger: check, repair, export, import, rebuild.")
COLUMNS = ("kind", "key", "safe", "message", "hint")


@app.command("check")
def check(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List everything in the ledger that does not hold; exit status 4 when there is something."""
    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        found = ledger.check()
    rows = _rows(found)
    print_rows(rows, COLUMNS, fmt)
    if found:
        raise Conflict(
            f"{len(found)} things in the ledger do not hold", hint="`berth ledger repair` mends the safe ones"
        )


@app.command("repair")
def repair(
    ctx: typer.Context,
    run_is_gone: Annotated[
        list[str] | None,
        typer.Option(
            "--run-is-gone",
            metavar="ACTION",
            help="End this action instead, whose run is gone for good with its machine or container. Repeatable.",
        ),
    ] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Mend what is safe: what deleted guests still hold, and the actions of runs that are proved dead."""
    from berth.ledger.consistency import Finding, Kind
    from berth.ledger.owner import Owner

    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        if run_is_gone:
            ended = ledger.end_gone(run_is_gone, Owner.of_process().who)
            mended = [Finding(Kind.DEAD_ACTION, row.id, f"action {row.id} ({row.verb}): {row.error}") for row in ended]
        else:
            mended = ledger.repair()
    print_rows(_rows(mended), COLUMNS, fmt)


@app.command("export")
def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON file to write; it must not exist.")],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Write the whole ledger to a JSON file, readable by you alone: it may hold user data of guests."""
    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        data = ledger.export_data()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be made: {error.strerror}", hint="name a new file") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1)
    if fmt is Format.TABLE:
        typer.echo(f"{file}: written")
    else:
        print_item({"file": str(file)}, fmt)


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `berth ledger export` wrote.", exists=True, dir_okay=False)],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Fill an empty ledger with an export."""
    context: CliContext = ctx.obj
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{file}: no JSON: {error}", hint="`berth ledger export` writes what can be imported"
        ) from error
    with open_ledger(context.cloud) as ledger:
        print_item(ledger.import_data(data), fmt)


@app.command("rebuild")
def rebuild(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """Record, in a new ledger, the guests that the hosts' facts show. Run `berth host refresh` first."""
    context: CliContext = ctx.obj
    with open_ledger(context.cloud) as ledger:
        made = ledger.rebuild(context.cloud.name)
    print_item({"guests": [row.name for row in made.guests], "problems": made.problems}, fmt)
    if made.problems:
        raise Partial(f"{len(made.problems)} things need a person", details=tuple(made.problems))


def _rows(findings: list[Finding]) -> list[dict[str, Any]]:
    return [
        {"kind": one.kind.value, "key": one.key, "safe": one.safe, "message": one.message, "hint": one.hint}
        for one in findings
    ]
