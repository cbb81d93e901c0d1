# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from berth.spec.schema import ENTRIES, catalog_schema, request_schema

ROOT = Path(__file__).parents[3]
FIRST_CLOUD = ROOT / "src/berth/cli/first_cloud/catalog"


@pytest.mark.parametrize("kind", [kind for kind in ENTRIES if kind != "keypairs"])
def test_the_first_cloud_holds_against_the_schema(kind: str) -> None:
    schema = catalog_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    content = yaml.safe_load((FIRST_CLOUD / f"{kind}.yml").read_text())
    jsonschema.validate(content, schema)
    content[kind][0]["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(content, schema)


def test_a_request_holds_against_its_schema() -> None:
    request = {"name": "web", "flavor": "a", "image": "b", "group": {"name": "g", "policy": "affinity"}, "count": 2}
    jsonschema.validate(request, request_schema())
    with pytest.raises(jsonschema.ValidationError, match="1000"):
        jsonschema.validate({**request, "count": 1001}, request_schema())


def keys_of(schema: dict[str, Any]) -> set[str]:
    """Returns every key that the schema knows, also those of nested maps."""
    found: set[str] = set(schema.get("properties", {}))
    for inner in schema.get("$defs", {}).values():
        found |= set(inner.get("properties", {}))
    return found


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs/catalog.md").read_text()
    known = keys_of(request_schema())
    for model in ENTRIES.values():
        known |= keys_of(model.model_json_schema())
    assert len(known) > 40
    assert {key for key in known if f"`{key}`" not in text} == set()
