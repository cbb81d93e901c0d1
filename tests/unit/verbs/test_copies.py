# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts show a guest on besides its own."""

from __future__ import annotations

import pytest

from berth.verbs.copies import copies_elsewhere, domain_states


@pytest.mark.parametrize(
    ("home", "states", "expected"),
    [
        pytest.param("h1", {"h1": "running"}, [], id="at-home"),
        pytest.param("h1", {"h1": "shutdown", "h2": "running"}, [("h2", "running")], id="moved-by-hand"),
        pytest.param("h1", {"h3": "paused", "h2": "running"}, [("h2", "running"), ("h3", "paused")], id="by-host"),
        pytest.param("h1", {"h2": "shutdown", "h3": "crashed"}, [], id="off-elsewhere"),
        pytest.param(None, {"h2": "running"}, [("h2", "running")], id="without-a-host"),
    ],
)
def test_copies_elsewhere(home: str | None, states: dict[str, str], expected: list[tuple[str, str]]) -> None:
    domains = {host: domain_states({"domains": [{"uuid": "u", "state": state}]}) for host, state in states.items()}
    assert copies_elsewhere("u", home, {**domains, "h9": domain_states({})}) == expected
