# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that cross from a playbook's process to the command line keep what they say and their exit code."""

from __future__ import annotations

import pytest

from berth.errors import BerthError, Conflict, NotFound, Partial, error_from_dict


@pytest.mark.parametrize("kind", [BerthError, NotFound, Conflict, Partial])
def test_an_error_comes_back_as_it_was(kind: type[BerthError]) -> None:
    sent = kind("what", hint="how", details=("one", "two"), data={"a": 1})
    back = error_from_dict(sent.to_dict())
    assert (type(back), back.to_dict()) == (kind, sent.to_dict())


def test_a_kind_that_is_not_loaded_keeps_its_exit_code() -> None:
    sent = {**Conflict("what").to_dict(), "error": "SomethingOfAnotherPackage"}
    assert type(error_from_dict(sent)) is Conflict
    assert type(error_from_dict({"error": "Unheard", "message": "x"})) is BerthError
