# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in the command line, as Click finds them, told like every other error of Berth."""

from __future__ import annotations

import re
from typing import Any

import typer

from berth.errors import BerthError, InvalidInput

# Typer's public name leads to Click's errors: newer versions bring a Click of their own, older ones use the installed.
_USAGE_ERROR = typer.BadParameter.__bases__[0]
CLICK_ERROR: type[Exception] = _USAGE_ERROR.__bases__[0]

# How Click and Typer put a suggestion behind a message.
_SUGGESTION = re.compile(r"[. ]*\(?(?:Did you mean|Possible options:) (?P<names>[^?)]+)[?)]*$")


def asks_for_help(error: Any) -> bool:
    """Shows what a command without a verb takes, if the error stands for that, and returns whether it does.

    Where Typer draws the help itself it has done so when the error was made; else the message is the help.
    """
    if type(error).__name__ != "NoArgsIsHelpError":
        return False
    typer.echo(error.format_message(), err=True, nl=bool(error.message))
    return True


def usage_error(error: Any) -> BerthError:
    """Returns a CLICK_ERROR as an error of Berth with the same exit code: one line, and the suggestion as its hint."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "berth"
    text = " ".join(error.format_message().split()).replace("Value error, ", "")
    suggestion = _SUGGESTION.search(text)
    hint = f"`{command} --help` shows what it takes"
    if suggestion:
        text = text[: suggestion.start()]
        names = list(getattr(error, "possibilities", None) or suggestion["names"].split(", "))
        hint = f"did you mean {' or '.join(names)}? {hint}"
    kind = InvalidInput if error.exit_code == InvalidInput.exit_code else BerthError
    return kind(f"{command}: {text[:1].lower()}{text[1:].rstrip('.')}", hint=hint)
