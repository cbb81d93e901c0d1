# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud's placement profiles: catalog/placement.yml, with the plug-ins that it names."""

from __future__ import annotations

from berth.cloud import Cloud
from berth.errors import InvalidInput
from berth.placement import Profiles, parse_profiles, plugin_names
from berth.placement_plugins import load_registry
from berth.spec.yamltext import parse

PLACEMENT_FILE = "placement.yml"


def read_profiles(cloud: Cloud) -> Profiles:
    """Returns the profiles of catalog/placement.yml; without that file, the default one alone.

    Raises InvalidInput with every mistake in it, each with its line.
    """
    path = cloud.catalog_path / PLACEMENT_FILE
    if not path.is_file():
        return Profiles()
    document, problems = parse(path.read_bytes(), PLACEMENT_FILE)
    if problems:
        raise InvalidInput.from_problems(PLACEMENT_FILE, problems)
    registry = load_registry(plugin_names(document.value), cloud.catalog_path)
    return parse_profiles(document.value, registry=registry, where=document.where)
