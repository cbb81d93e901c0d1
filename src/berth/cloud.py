# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the cloud's directory and reads its settings. Light: reads like `list` start here."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from berth.errors import InvalidInput, NotFound, Problem

SETTINGS_FILE = "berth.yml"
LEDGER_FILE = "ledger.sqlite"
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Settings:
    """The content of berth.yml. Every key is optional.

    `ledger` is an SQLAlchemy URL; a relative SQLite path is taken from the cloud's directory.
    `facts_max_age_s` is the age past which a host's facts no longer serve placement.
    """

    name: str = ""
    ledger: str = f"sqlite:///{LEDGER_FILE}"
    facts_max_age_s: int = DAY_S
    default_project: str = "default"


@dataclass(frozen=True)
class Cloud:
    """One cloud: its directory and its settings."""

    path: Path
    settings: Settings

    @property
    def name(self) -> str:
        """Returns the cloud's name: berth.yml's, else the directory's."""
        return self.settings.name or self.path.name

    @property
    def catalog_path(self) -> Path:
        """Returns the folder of the catalog files."""
        return self.path / "catalog"

    @property
    def inventory_path(self) -> Path:
        """Returns the Ansible inventory of the cloud's hosts."""
        return self.path / "inventory"

    @property
    def secrets_path(self) -> Path:
        """Returns the folder of keys; 0700, never committed."""
        return self.path / "secrets"

    @property
    def ledger_url(self) -> str:
        """Returns the ledger's SQLAlchemy URL, SQLite paths made absolute."""
        prefix = "sqlite:///"
        url = self.settings.ledger
        if url.startswith(prefix) and not url.startswith(prefix + "/"):
            return prefix + str(self.path / url.removeprefix(prefix))
        return url


def find_cloud(given: str | Path | None = None, *, environment: dict[str, str] | None = None) -> Cloud:
    """Returns the cloud of `given`, else of BERTH_CLOUD, else of the current directory.

    Raises NotFound when that directory has no berth.yml, InvalidInput when the file does not hold.
    """
    env = os.environ if environment is None else environment
    try:
        path = Path(given or env.get("BERTH_CLOUD") or ".").expanduser().resolve()
    except FileNotFoundError as error:
        raise NotFound(
            "no cloud: the current directory is not there any more",
            hint="change to one that is, or name a cloud's path",
        ) from error
    settings_file = path / SETTINGS_FILE
    if not settings_file.is_file():
        raise NotFound(
            f"no cloud in {path}: it has no {SETTINGS_FILE}",
            hint="make one with `berth init DIR`, or name one with --cloud DIR or BERTH_CLOUD",
        )
    return Cloud(path=path, settings=read_settings(settings_file))


def read_settings(settings_file: Path) -> Settings:
    """Returns the settings of one berth.yml. Raises InvalidInput with every mistake in it."""
    try:
        content = yaml.safe_load(settings_file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{settings_file}: cannot be read: {error}", hint="mend the file") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{settings_file}: must be a map of settings, found {type(content).__name__}")
    problems = list(_setting_problems(settings_file, content))
    if problems:
        raise InvalidInput.from_problems(str(settings_file), problems, hint="docs/cloud.md lists the settings")
    return Settings(**content)


def _setting_problems(settings_file: Path, content: dict[Any, Any]) -> list[Problem]:
    known: dict[str, Any] = {field.name: type(field.default) for field in fields(Settings)}
    problems = []
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            problems.append(Problem(settings_file.name, f"unknown setting {key!r}{meant}"))
        elif type(value) is not known[key] or (isinstance(value, int) and value <= 0):
            allowed = "a whole number above 0" if known[key] is int else "text"
            problems.append(Problem(settings_file.name, f"{key}: found {value!r}, allowed: {allowed}"))
    return problems
