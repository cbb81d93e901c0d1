# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from berth.errors import InvalidInput
from berth.spec.names import check_guest_name, check_name

GOOD_NAMES = ["a", "m1.small", "debian-12", "_x", "A9", "a..b", "x" * 63]
BAD_NAMES = {
    "empty": "",
    "too long": "x" * 64,
    "leading dot": ".hidden",
    "leading dash": "-rf",
    "path": "../etc",
    "slash": "a/b",
    "element": "<a>",
    "quote": 'a"b',
    "newline inside": "a\nb",
    "newline at the end": "a\n",
    "space": "a b",
    "look-alike letter": "\u0430dmin",
    "other digits": "web\u0663",
    "template": "{{x}}",
}
GOOD_GUESTS = ["web", "web-1", "a", "1a", "x" * 63]
BAD_GUESTS = {
    **BAD_NAMES,
    "dot": "web.1",
    "underscore": "web_1",
    "capital": "Web",
    "trailing dash": "web-",
    "digits only": "123",
    "a UUID": "4b1d8a52-0f0f-4a0e-8f58-3d3a5b0e5c11",
    "a UUID without dashes": "4b1d8a520f0f4a0e8f583d3a5b0e5c11",
}


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_that_hold(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_names_that_do_not(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name, "flavor")
    assert caught.value.message.startswith(f"flavor: found {name!r}, allowed: 1 to 63 of")


@pytest.mark.parametrize("name", GOOD_GUESTS)
def test_guest_names_that_hold(name: str) -> None:
    assert check_guest_name(name) == name


@pytest.mark.parametrize("name", BAD_GUESTS.values(), ids=BAD_GUESTS)
def test_guest_names_that_do_not(name: str) -> None:
    with pytest.raises(InvalidInput, match="lower-case"):
        check_guest_name(name)
