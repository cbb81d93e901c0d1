# SPDX-License-Identifier: GPL-3.0-or-later
"""Booting without the command line: the playbook alone, what it touches, and what it leaves alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab.cloud import LabCloud
from lab.leftovers import snapshot

pytestmark = pytest.mark.lab

REQUEST = {
    "name": "book",
    "count": 2,
    "flavor": "m1.tiny",
    "image": "idle",
    "networks": ["lan"],
    "key_name": "me",
    "hints": {"force_host": "h1"},
}


@pytest.fixture
def options(cloud: LabCloud) -> Iterator[tuple[str, str]]:
    """The options of ansible-playbook that hand over the request."""
    file = cloud.folder / "request.yml"
    file.write_text(yaml.safe_dump({"berth_request": REQUEST}))
    yield "-e", "@request.yml"
    file.unlink()
    cloud.delete_all()


def on_hosts(tasks: list[dict[str, Any]]) -> Counter[str]:
    """How many tasks ran on each host, the controller left out."""
    return Counter(task["host"] for task in tasks if task["host"] != "localhost" and task["kind"] != "skipped")


def test_the_playbook_boots_on_the_chosen_host_and_on_no_other(cloud: LabCloud, options: tuple[str, str]) -> None:
    before = cloud.inventory()
    foreseen = cloud.playbook("boot", *options, "--check")
    assert foreseen[0]["changed"] and on_hosts(foreseen) == {}
    assert before.lines(cloud.inventory()) == []

    cloud.lab.host("h3").power_cut()  # who contacts it fails
    try:
        first = cloud.playbook("boot", *options)
        made = snapshot(cloud.lab.host("h1"))
        second = cloud.playbook("boot", *options)
        again = cloud.playbook("boot", *options, "--check")
    finally:
        cloud.lab.power_on("h3")
    assert {task["kind"] for task in (*first, *second, *again)} <= {"ok", "skipped"}
    assert set(on_hosts(first)) == {"h1"} and on_hosts(first)["h1"] <= 3
    assert {name: (guest["host"], guest["state"]) for name, guest in cloud.guests().items()} == {
        "book-1": ("h1", "active"),
        "book-2": ("h1", "active"),
    }
    assert not [task for task in (*second, *again) if task["changed"]] and on_hosts([*second, *again]) == {}
    assert made == snapshot(cloud.lab.host("h1"))


def test_the_playbook_says_what_is_wrong(cloud: LabCloud, options: tuple[str, str]) -> None:
    wrong = "{berth_request: {name: book, flavor: m1.tony, image: tinyy, networks: [lan]}}"
    (failed,) = cloud.playbook("boot", *options, "-e", wrong, status=2)
    assert failed["kind"] == "failed" and failed["error"]["error"] == "NotFound"
    said = failed["msg"].splitlines()
    assert "did you mean m1.tiny?" in said[1] and "did you mean tiny?" in said[2] and said[3].startswith("hint: ")
