# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads the filters and weighers that a profile names under `plugins`: installed ones, and files of the cloud.

    plugins: [rack_spread, placement/quiet_hours.py]

A name is an entry point of the groups `berth.filters` and `berth.weighers`; what ends in .py is a file below the
cloud's catalog folder, of which every filter and weigher that it defines is taken. Nothing else is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from berth.errors import InvalidInput, Problem
from berth.placement import BUILT_IN, Filter, Registry, Weigher
from berth.placement.naming import did_you_mean

GROUPS = ("berth.filters", "berth.weighers")

Plugin = type[Filter] | type[Weigher]


def load_registry(names: Iterable[str], folder: Path) -> Registry:
    """Returns the built-in filters and weighers and those that the names stand for; files are below `folder`.

    Raises InvalidInput with every name that nothing has, every file that cannot be imported or defines nothing,
    and every class whose name is taken.
    """
    plugins: dict[Plugin, None] = {}
    problems: list[Problem] = []
    for name in dict.fromkeys(names):
        try:
            found = _from_file(name, folder) if name.endswith(".py") else _installed(name)
        except Exception as error:  # noqa: BLE001 - a plug-in's import may raise anything, and the user must hear what
            problems.append(Problem(f"plug-in {name}", f"{type(error).__name__}: {error}"))
            continue
        plugins.update(dict.fromkeys(found))
    if problems:
        raise InvalidInput.from_problems("placement plug-ins", problems, hint="docs/placement.md shows a plug-in")
    return BUILT_IN.extended(plugins)


def _installed(name: str) -> list[Plugin]:
    known: dict[str, list[EntryPoint]] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            known.setdefault(point.name, []).append(point)
    if name not in known:
        raise LookupError(f"no installed package has it in {' or '.join(GROUPS)}; {did_you_mean(name, known)}")
    return [point.load() for point in known[name]]


def _from_file(name: str, folder: Path) -> list[Plugin]:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is not below {folder}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    found = list(_defined_in(_import(path)))
    if not found:
        raise LookupError("it defines no subclass of berth.placement.Filter, HostFilter, Weigher or HostWeigher")
    return found


def _import(path: Path) -> ModuleType:
    name = f"berth_placement_plugin_{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _defined_in(module: ModuleType) -> Iterator[Plugin]:
    for value in vars(module).values():
        here = isinstance(value, type) and value.__module__ == module.__name__
        if here and issubclass(value, (Filter, Weigher)) and not getattr(value, "__abstractmethods__", None):
            yield value
