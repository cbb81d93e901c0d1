# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what a run does: a live line on a terminal, plain lines elsewhere. Always on stderr: stdout is the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.runner import Observer, Progress

# Results worth a line of their own; `ok` and `skipped` pass silently on a terminal.
_LOUD = ("changed", "failed", "unreachable")


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Observer | None]:
    """Yields an observer for run_playbook(). `quiet` (Ansible prints itself) yields None."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _live(title) as observer:
            yield observer
    else:
        print(f"{title} ...", file=sys.stderr, flush=True)
        yield _plain


def _plain(happened: Progress) -> None:
    if happened.kind in ("ok", *_LOUD) and happened.host:
        print(f"  {happened.host}: {happened.name}: {_word(happened)}", file=sys.stderr, flush=True)


def _word(happened: Progress) -> str:
    first_line = happened.message.splitlines()[0] if happened.message else ""
    failed = happened.kind in ("failed", "unreachable")
    return f"{happened.kind}: {first_line}" if failed and first_line else happened.kind


@contextmanager
def _live(title: str) -> Iterator[Observer]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    marks = {"changed": "[green]✓[/]", "failed": "[red]✗[/]", "unreachable": "[red]✗[/]"}
    with console.status(escape(title)) as status:

        def observe(happened: Progress) -> None:
            if happened.kind == "task":
                status.update(f"{escape(title)}: {escape(happened.name)}")
            elif happened.kind in _LOUD and happened.host:
                line = f"{happened.host}: {happened.name}: {_word(happened)}"
                console.print(f"{marks[happened.kind]} {escape(line)}")

        yield observe
