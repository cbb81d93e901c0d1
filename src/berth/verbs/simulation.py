# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays a file of requests on a file of a fleet. Needs no cloud, no ledger and no hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.errors import InvalidInput
from berth.placement import Simulation, plugin_names, read_fleet, read_requests, simulate, write_fleet
from berth.placement_plugins import load_registry
from berth.spec.yamltext import EXPORTED, Document, parse


@dataclass(frozen=True)
class Played:
    """What became of the requests. `placement` is the profiles' part of the fleet's file, as it was written."""

    simulation: Simulation
    placement: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Returns the answer as JSON-ready data; `after` is a fleet document again."""
        return {**self.simulation.to_dict(), "after": write_fleet(self.simulation.after, self.placement)}


def play(fleet_file: Path, requests_file: Path, *, seed: int | None = None) -> Played:
    """Returns what becomes of each request, one after the other. Plug-in files are looked for beside the fleet's file.

    Raises InvalidInput with every mistake in a file, each with its line; NotFound for a profile there is not.
    """
    fleet_text, requests_text = _read(fleet_file), _read(requests_file)
    content = fleet_text.value if isinstance(fleet_text.value, dict) else {}
    placement = content.get("placement") or {}
    registry = load_registry(plugin_names(placement), fleet_file.parent)
    fleet = read_fleet(fleet_text.value, registry=registry, where=fleet_text.where)
    items = read_requests(requests_text.value, fleet.groups, where=requests_text.where)
    return Played(simulate(fleet, items, seed=seed, where=requests_text.where), dict(placement))


def _read(path: Path) -> Document:
    """Returns a parsed YAML file; JSON is YAML too. Raises InvalidInput."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}", hint="name a file that is there") from error
    document, problems = parse(data, path.name, EXPORTED)
    if problems:
        raise InvalidInput.from_problems(str(path), problems)
    return document
