# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds guests by what the user typed: a name in a project, or a UUID."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from berth.errors import InvalidInput, NotFound, Problem

if TYPE_CHECKING:
    from berth.ledger.rows import GuestRow
    from berth.ledger.store import Ledger

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_uuid(text: str) -> bool:
    """Returns whether `text` is a UUID in lower case; no guest's name is."""
    return _UUID.fullmatch(text) is not None


def find_guest(ledger: Ledger, name: str, project: str) -> GuestRow:
    """Returns one guest. Raises NotFound with the nearest names."""
    return find_guests(ledger, [name], project)[0]


def find_guests(ledger: Ledger, names: Iterable[str], project: str) -> list[GuestRow]:
    """Returns the guests in the order of the names, each once. Raises NotFound for all unknown names at once."""
    wanted = list(dict.fromkeys(names))
    plain = [name for name in wanted if not _UUID.fullmatch(name)]
    found = {row.name.casefold(): row for row in ledger.guests(project=project, names=plain)} if plain else {}
    rows: list[GuestRow] = []
    problems: list[Problem] = []
    for name in wanted:
        row = ledger.guest_by_uuid(name) if _UUID.fullmatch(name) else found.get(name.casefold())
        if row is None or row.deleted_at is not None:
            problems.append(Problem("", _unknown(ledger, name, project)))
        else:
            rows.append(row)
    if problems:
        raise NotFound.from_problems("guests", problems, hint="`berth list` shows the guests there are")
    return list({row.uuid: row for row in rows}.values())


def find_known(ledger: Ledger, names: Iterable[str], project: str) -> tuple[list[GuestRow], list[str]]:
    """Returns the guests there are of these names, and the names that none has."""
    rows, unknown = [], []
    for name in dict.fromkeys(names):
        try:
            rows.append(find_guest(ledger, name, project))
        except NotFound:
            unknown.append(name)
    return rows, unknown


def project_of(rows: Iterable[GuestRow]) -> str:
    """Returns the project of the guests. Raises InvalidInput for guests of several."""
    names = {row.project: row.name for row in rows}
    if len(names) > 1:
        found = ", ".join(f"{name} in {project}" for project, name in sorted(names.items()))
        raise InvalidInput(f"guests of {len(names)} projects: {found}; allowed: one", hint="do it once per project")
    return next(iter(names))


def _unknown(ledger: Ledger, name: str, project: str) -> str:
    near = difflib.get_close_matches(name, [row.name for row in ledger.guests(project=project)], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"no guest {name!r} in project {project}{meant}"
