# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for names, in one place.

Names end up as files, libvirt objects, host names and inventory hosts, so they are ASCII and hold nothing
that means something to a shell, a path or XML. Two rules:

- catalog entries and projects: letters, digits, dot, dash, underscore; no leading dot or dash; at most 63.
- guests: one host name label as RFC 1123 (2.1) has it, in lower case: a guest's name is its host name. Without
  a dot, so that the domain name PROJECT.NAME can be taken apart again; not digits only and not a UUID, because
  verbs take a name or a UUID.
"""

from __future__ import annotations

import re

from berth.errors import InvalidInput

MAX_LENGTH = 63

NAME_RULE = "1 to 63 of letters, digits, dot, dash and underscore, not beginning with a dot or a dash"
GUEST_NAME_RULE = (
    "1 to 63 of lower-case letters, digits and dash, beginning and ending with a letter or digit, "
    "not digits only and not a UUID"
)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_GUEST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def is_name(text: str) -> bool:
    """Returns whether `text` may name a catalog entry or a project."""
    return _NAME.fullmatch(text) is not None


def is_guest_name(text: str) -> bool:
    """Returns whether `text` may name a guest."""
    return bool(_GUEST_NAME.fullmatch(text)) and not text.isdigit() and not _UUID.fullmatch(text)


def check_name(name: str, what: str = "name") -> str:
    """Returns `name`. Raises InvalidInput when it may not name a catalog entry or a project."""
    if not is_name(name):
        raise InvalidInput(f"{what}: found {name!r}, allowed: {NAME_RULE}", hint="choose another name")
    return name


def check_guest_name(name: str, what: str = "guest name") -> str:
    """Returns `name`. Raises InvalidInput when it may not name a guest."""
    if not is_guest_name(name):
        raise InvalidInput(f"{what}: found {name!r}, allowed: {GUEST_NAME_RULE}", hint="choose another name")
    return name
