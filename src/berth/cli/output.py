# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints answers as table, JSON or YAML, and errors as text or data.

JSON and YAML carry everything a row has; a table shows the columns asked for. What is printed for people has its
control characters escaped: a name from a host or a file cannot drive the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from berth.errors import BerthError, InvalidInput

GAP = "  "


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="How to print: for people, or as data for programs.")
]


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], fmt: Format) -> None:
    """Prints a list: as a table of `columns`, or all of it as JSON or YAML."""
    if fmt is not Format.TABLE:
        _print_data([dict(row) for row in rows], fmt)
        return
    header = [column.replace("_", " ").upper() for column in columns]
    _print_cells(header, [[cell(row.get(column)) for column in columns] for row in rows])


def print_item(item: Mapping[str, Any], fmt: Format) -> None:
    """Prints one thing: as a table of its keys and values, or as JSON or YAML."""
    if fmt is not Format.TABLE:
        _print_data(dict(item), fmt)
        return
    _print_cells(["FIELD", "VALUE"], [[key.replace("_", " "), cell(value)] for key, value in item.items()])


def print_lines(lines: Sequence[str]) -> None:
    """Prints text for people, line by line."""
    for line in lines:
        print(printable(line))


def write_new(path: Path, data: Mapping[str, Any], fmt: Format) -> None:
    """Writes data to a new file that its owner alone may read. Raises InvalidInput when it is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be made: {error.strerror}", hint="name a new file") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(_data_text(dict(data), fmt).rstrip("\n") + "\n")


def fail(error: BerthError, fmt: Format = Format.TABLE) -> NoReturn:
    """Prints the error on stderr, as `error:`, indented details and `hint:` or as data, and exits with its code."""
    if fmt is Format.TABLE:
        lines = [f"error: {printable(error.message)}"]
        lines += [f"  {printable(line)}" for detail in error.details for line in detail.splitlines()]
        lines += [f"hint: {printable(error.hint)}"] if error.hint else []
        text = "\n".join(lines)
    else:
        text = _data_text(error.to_dict(), fmt)
    print(text.rstrip("\n"), file=sys.stderr)
    sys.exit(error.exit_code)


def cell(value: Any) -> str:
    """Returns a value as one line of a table: lists with commas, maps as key=value, nothing as `-`."""
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(key))}={cell(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(inner) for inner in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Returns the text on one line, its other control characters escaped as Python writes them."""
    one_line = " ".join(text.splitlines())
    if one_line.isprintable():
        return one_line
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in one_line)


def has_terminal() -> bool:
    """Returns whether somebody can be asked."""
    return sys.stdin.isatty()


def _print_data(data: Any, fmt: Format) -> None:
    print(_data_text(data, fmt).rstrip("\n"))


def _data_text(data: Any, fmt: Format) -> str:
    if fmt is Format.JSON:
        return json.dumps(data, indent=2, allow_nan=False)
    import yaml

    # Through JSON first: both formats then hold the same plain types.
    text: str = yaml.safe_dump(json.loads(json.dumps(data, allow_nan=False)), sort_keys=False, allow_unicode=True)
    return text


def _print_cells(header: list[str], rows: list[list[str]]) -> None:
    if sys.stdout.isatty():
        _print_rich(header, rows)
        return
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    for row in [header, *rows]:
        print(GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)
