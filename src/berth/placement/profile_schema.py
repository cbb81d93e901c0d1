# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of placement.yml, for editors. What is read, and told with its line, is parse_profiles' business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from berth.placement.devices import DEVICE_KINDS
from berth.placement.pci import NUMA_POLICIES
from berth.placement.profile import Options
from berth.placement.profiles import MOST, SCHEDULERS
from berth.placement.registry import BUILT_IN

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_COUNT = {"type": "integer", "minimum": 1, "maximum": MOST}


def placement_schema() -> dict[str, Any]:
    """Returns the schema of a whole placement.yml. Names that are not built in may be those of plug-ins."""
    profile = _keys(
        {
            "extends": _or_nothing(_TEXT),
            "filters": _names(BUILT_IN.filters),
            "weighers": _names(BUILT_IN.weighers),
            "multipliers": _or_nothing(
                _keys({kind.multiplier_option: {"type": "number"} for kind in BUILT_IN.weighers.values()})
                | {"additionalProperties": {"type": "number"}}
            ),
            "options": _or_nothing(_keys({option.name: _option(option.name) for option in fields(Options)})),
            "scheduler": {"enum": list(SCHEDULERS)},
            "host_subset_size": _COUNT,
            "shuffle_best_same_weighed_hosts": {"type": "boolean"},
            "max_attempts": _COUNT,
            "plugins": _or_nothing(_TEXTS),
        }
    )
    return _keys(
        {
            "default": _TEXT,
            "projects": _or_nothing({"type": "object", "additionalProperties": _TEXT}),
            "profiles": _or_nothing({"type": "object", "additionalProperties": _or_nothing(profile)}),
        }
    )


def _keys(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _names(built_in: Iterable[str]) -> dict[str, Any]:
    # Two alternatives of which the second takes all: editors offer the first one's words.
    listed = {"type": "array", "items": {"anyOf": [{"enum": sorted(built_in)}, _TEXT]}}
    return {"anyOf": [listed, _keys({"add": _or_nothing(listed), "remove": _or_nothing(listed)}), {"type": "null"}]}


def _option(name: str) -> dict[str, Any]:
    if name == "pci_aliases":
        identifier = {"anyOf": [{"type": "string", "pattern": "^[0-9A-Fa-f]{4}$"}, {"type": "integer"}]}
        alias = _keys(
            {
                "vendor_id": identifier,
                "product_id": identifier,
                "kind": {"enum": list(DEVICE_KINDS)},
                "numa_policy": {"enum": list(NUMA_POLICIES)},
            }
        )
        return {"type": "object", "additionalProperties": {**alias, "required": ["vendor_id", "product_id"]}}
    if name == "plugin_options":
        return {"type": "object"}
    if name == "facts_max_age_s":
        return {"type": "number", "exclusiveMinimum": 0}
    default = getattr(Options(), name)
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, int):
        return {"type": "integer", "minimum": 0}
    schemas: dict[type, dict[str, Any]] = {str: _TEXT, float: {"type": "number"}, tuple: _TEXTS}
    return schemas.get(type(default), _NUMBERS)
