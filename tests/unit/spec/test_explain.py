# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from berth.spec.explain import SHOWN, Place, mistake, problems_of, shown, unknown_name
from berth.spec.network import Network


@pytest.mark.parametrize(
    ("value", "written", "text"),
    [
        (None, "~", "nothing"),
        (True, "yes", "yes (YAML reads it as true)"),
        (False, "False", "false"),
        (True, None, "true"),
        (5, "5", "5"),
        (1.5, None, "1.5"),
        ("a", None, "'a'"),
        ("a\x1b\n", None, "'a\\x1b\\n'"),
        ("x" * (SHOWN + 1), None, repr("x" * SHOWN + "...")),
        (10**100, None, "1" + "0" * (SHOWN - 1)),
        ({"a": 1}, None, "a map"),
        ([1], None, "a list"),
        ("https://me:secret@h/x", None, "'https://...@h/x'"),
        ("x -----BEGIN RSA PRIVATE KEY-----", None, "a private key"),
    ],
)
def test_what_is_shown(value: Any, written: str | None, text: str) -> None:
    assert shown(value, written) == text


def test_places() -> None:
    place = Place("request", {"hints": "r.yml:3", "hints.ignore_hosts[0]": "r.yml:5"})
    assert place.where(()) == "request"
    assert place.where(("name",)) == "request: name"
    assert place.where(("hints", "ignore_hosts", 0)) == "r.yml:5: hints.ignore_hosts[0]"
    assert place.where(("hints", "ignore_hosts", 1)) == "r.yml:3: hints.ignore_hosts[1]"
    assert Place("").where(("name",)) == "name"


def test_a_mistake_has_place_value_and_rule() -> None:
    assert str(mistake(Place("f"), ("a", 0), "x", "a list")) == "f: a[0]: found 'x', allowed: a list"
    assert (
        str(unknown_name("", "network", "lann", ["lan"])) == "network 'lann' is not in the catalog; did you mean lan?"
    )


def test_paths_begin_where_the_value_is() -> None:
    with pytest.raises(ValidationError) as caught:
        Network.model_validate(
            {"kind": "nat", "cidr": "10.0.0.0/24", "range": {"frist": "10.0.0.2", "last": "10.0.0.3"}}
        )
    problems = problems_of(caught.value, Network, Place("f"), ("networks", 2))
    assert [str(problem).split(", allowed")[0] for problem in problems] == [
        "f: networks[2].name: is missing",
        "f: networks[2].range.first: is missing",
        "f: networks[2].range.frist: unknown key 'frist'; did you mean first?",
    ]
