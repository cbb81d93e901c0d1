# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the Ansible collection into the wheel, where Ansible finds it on sys.path."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("galaxy.yml", "README.md", "meta", "plugins", "roles", "playbooks")


class CollectionHook(BuildHookInterface):
    """Adds the collection under ansible_collections/berth/kvm/ of a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds each part of the collection, unless the install is editable."""
        # An editable install reads the checkout through dev-mode-dirs; a copy would hide edits.
        if version == "editable":
            return
        for part in PARTS:
            build_data["force_include"][part] = f"ansible_collections/berth/kvm/{part}"
