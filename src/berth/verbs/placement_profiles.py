# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud's placement profiles: catalog/placement.yml, with the plug-ins that it names."""

from __future__ import annotations

from typing import Any

from berth.cloud import Cloud
from berth.errors import InvalidInput, Problem
from berth.placement import Options, Profiles, parse_profiles, plugin_names
from berth.placement_plugins import load_registry
from berth.spec.yamltext import Document, parse

PLACEMENT_FILE = "placement.yml"

# A guest tries this many hosts in one run, its first one included; guest_boot.yml has as many rounds.
MAX_ATTEMPTS = 3


def read_profiles(cloud: Cloud) -> Profiles:
    """Returns the profiles of catalog/placement.yml; without that file, the default one alone.

    The cloud's `facts_max_age_s` holds where a profile says nothing. Raises InvalidInput with every mistake in the
    file, each with its line.
    """
    document = read_placement_file(cloud)
    registry = load_registry(plugin_names(document.value), cloud.catalog_path)
    options = Options(facts_max_age_s=float(cloud.settings.facts_max_age_s))
    profiles = parse_profiles(document.value, registry=registry, where=document.where, options=options)
    _check_attempts(profiles, document)
    return profiles


def read_placement_file(cloud: Cloud) -> Document:
    """Returns the parsed catalog/placement.yml, an empty document without one. Raises InvalidInput for bad YAML."""
    path = cloud.catalog_path / PLACEMENT_FILE
    if not path.is_file():
        return Document(PLACEMENT_FILE)
    document, problems = parse(path.read_bytes(), PLACEMENT_FILE)
    if problems:
        raise InvalidInput.from_problems(PLACEMENT_FILE, problems)
    return document


def _check_attempts(profiles: Profiles, document: Document) -> None:
    given: dict[str, Any] = (document.value or {}).get("profiles") or {}
    problems = [
        Problem(
            document.where(("profiles", name, "max_attempts")),
            f"found {profile.max_attempts}, allowed: at most {MAX_ATTEMPTS}, the rounds that a boot has",
        )
        for name, profile in profiles.profiles.items()
        if profile.max_attempts > MAX_ATTEMPTS and "max_attempts" in (given.get(name) or {})
    ]
    if problems:
        raise InvalidInput.from_problems("placement profiles", problems, hint="docs/placement.md lists the keys")
