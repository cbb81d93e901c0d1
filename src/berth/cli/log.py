# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth log`: the end of a guest's console log.

A guest may write anything there. On a terminal it is shown with its control characters escaped; a pipe or a file gets
every byte as it is.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_item, printable
from berth.errors import HostFailed

# Ansible refuses an answer with bytes that are no UTF-8; without this check they come as Python's surrogate escapes.
ANY_BYTES = {"ANSIBLE_MODULE_STRICT_UTF8_RESPONSE": "0"}


def log(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the guest.")],
    project: Annotated[str | None, typer.Option("--project", help="Project of the guest.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many lines.")] = 100,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Print the end of a guest's console log, read from its host. Escaped on a terminal, unchanged elsewhere."""
    from berth.runner import run_playbook

    context: CliContext = ctx.obj
    request = {"name": name, "lines": lines, **({"project": project} if project else {})}
    result = run_playbook(
        context.cloud, "guest_log", {"berth_request": request}, debug=context.debug, environment=ANY_BYTES
    )
    result.raise_for_failure()
    read = result.of_task("ansible.builtin.command")
    if not read:
        raise HostFailed(
            f"guest {name}: its console log could not be read", hint="is its host up? `berth doctor` tells"
        )
    host, answer = next(iter(read.items()))
    written = str(answer.get("stdout", "")).encode("utf-8", "surrogateescape")
    if fmt is Format.TABLE:
        write_log(written)
        return
    guest = {key: result.last[key] for key in ("name", "uuid")}
    print_item({**guest, "host": host, "lines": _lines(written.decode("utf-8", "replace"))}, fmt)


def write_log(written: bytes) -> None:
    """Writes the log to stdout: for eyes on a terminal, else byte by byte."""
    if sys.stdout.isatty():
        print("".join(f"{line}\n" for line in readable_lines(written)), end="")
    else:
        sys.stdout.buffer.write(written)
        sys.stdout.flush()


def readable_lines(written: bytes) -> list[str]:
    """Returns the lines with what cannot be printed escaped; tabs become spaces, as a terminal would show them."""
    text = written.decode("utf-8", "backslashreplace")
    return [printable(line.expandtabs()) for line in _lines(text)]


def _lines(text: str) -> list[str]:
    """Returns the text cut at its line feeds; a console ends its lines with a carriage return before them."""
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
