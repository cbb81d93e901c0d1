# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from berth.errors import InvalidInput
from berth.verbs.guest_names import project_of


def rows(*given: tuple[str, str]) -> list[Any]:
    return [SimpleNamespace(project=project, name=name) for project, name in given]


def test_a_verb_works_on_one_project() -> None:
    assert project_of(rows(("a", "web-1"), ("a", "web-2"))) == "a"
    with pytest.raises(InvalidInput) as raised:
        project_of(rows(("b", "db-1"), ("a", "web-1")))
    assert raised.value.message == "guests of 2 projects: web-1 in a, db-1 in b; allowed: one"
