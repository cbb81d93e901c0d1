# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from berth.cli.boot_options import request_of

SHAPE = {"name": "web", "flavor": "small", "image": "tiny", "network": ["lan"], "count": 1}
PLAIN = {"name": "web", "flavor": "small", "image": "tiny", "networks": ["lan"], "count": 1}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {}),
        ({"host": None, "ignore_host": []}, {}),
        ({"ignore_host": ("h1", "h2")}, {"hints": {"ignore_hosts": ["h1", "h2"]}}),
        ({"group": "apart"}, {"group": "apart"}),
        ({"group": "apart", "policy": "affinity"}, {"group": {"name": "apart", "policy": "affinity"}}),
        # An empty variable of a shell script is not the same as no wish: the request's own checks refuse it.
        ({"force_host": "", "query": ""}, {"hints": {"force_host": "", "query": ""}}),
        ({"availability_zone": ""}, {"availability_zone": ""}),
        ({"seed": 0}, {"seed": 0}),
        ({"group": "g", "max_server_per_host": 0}, {"group": {"name": "g", "max_server_per_host": 0}}),
    ],
)
def test_a_request_has_what_was_given_and_nothing_else(given: dict[str, Any], asked: dict[str, Any]) -> None:
    assert request_of({**SHAPE, **given}) == {**PLAIN, **asked}
