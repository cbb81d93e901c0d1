# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON schemas of what users write, for editors and documentation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from berth.spec.image import Image
from berth.spec.model import Flavor, KeyPair, Project
from berth.spec.network import Network
from berth.spec.request import BootRequest

ENTRIES: dict[str, type[BaseModel]] = {
    "flavors": Flavor,
    "images": Image,
    "networks": Network,
    "keypairs": KeyPair,
    "projects": Project,
}


def catalog_schema(kind: str) -> dict[str, Any]:
    """Returns the JSON schema of catalog/KIND.yml; KIND is a key of ENTRIES."""
    entry = ENTRIES[kind].model_json_schema()
    definitions = entry.pop("$defs", {})
    return {
        "type": "object",
        "properties": {kind: {"type": "array", "items": entry}},
        "additionalProperties": False,
        "$defs": definitions,
    }


def request_schema() -> dict[str, Any]:
    """Returns the JSON schema of a boot request; `group` may be a name instead of a map."""
    return BootRequest.model_json_schema()
