# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what a run does: a live line on a terminal, plain lines elsewhere. Always on stderr: stdout is the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from berth.cli.output import printable

if TYPE_CHECKING:
    from berth.runner import Observer, Progress

# What is worth a line of its own; `ok` and `skipped` pass silently on a terminal.
_MARKS = {
    "changed": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "unreachable": "[red]✗[/]",
    "said": "[cyan]i[/]",
    "warning": "[yellow]![/]",
}


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Observer | None]:
    """Yields an observer for run_playbook(). `quiet` (Ansible prints itself) yields None."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _live(title) as observer:
            yield observer
    else:
        print(f"{printable(title)} ...", file=sys.stderr, flush=True)
        yield _plain


def _plain(happened: Progress) -> None:
    if happened.kind in ("ok", *_MARKS) and happened.host:
        print(f"  {_line(happened)}", file=sys.stderr, flush=True)


def _line(happened: Progress) -> str:
    return printable(f"{happened.host}: {happened.name}: {_word(happened)}")


def _word(happened: Progress) -> str:
    if happened.kind == "said":
        return happened.message
    if happened.kind == "warning":
        return f"warning: {happened.message}"
    first_line = happened.message.splitlines()[0] if happened.message else ""
    failed = happened.kind in ("failed", "unreachable")
    return f"{happened.kind}: {first_line}" if failed and first_line else happened.kind


@contextmanager
def _live(title: str) -> Iterator[Observer]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(escape(printable(title))) as status:

        def observe(happened: Progress) -> None:
            if happened.kind == "task":
                status.update(escape(printable(f"{title}: {happened.name}")))
            elif happened.kind in _MARKS and happened.host:
                console.print(f"{_MARKS[happened.kind]} {escape(_line(happened))}", soft_wrap=True, highlight=False)

        yield observe
