# SPDX-License-Identifier: GPL-3.0-or-later
"""Extra specs that a profile's filters cannot read, each with its line in catalog/flavors.yml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from berth.cloud import Cloud
from berth.errors import InvalidInput, Problem
from berth.placement import GuestRequest, Profile
from berth.placement.checks import spec_mistakes
from berth.spec.yamltext import Document, parse

FLAVORS_FILE = "flavors.yml"


def check_extra_specs(cloud: Cloud, requests: Iterable[GuestRequest], profile: Profile) -> None:
    """Raises InvalidInput with every mistake in the extra specs of the requests' flavors.

    What is wrong only together with an image's properties is left to placement.
    """
    found = extra_spec_problems(cloud, requests, profile)
    if found:
        raise InvalidInput.from_problems(
            "flavors", found, hint="correct the flavor; docs/placement.md says which filter reads what"
        )


def extra_spec_problems(cloud: Cloud, requests: Iterable[GuestRequest], profile: Profile) -> list[Problem]:
    """Returns the mistakes in the extra specs of the requests' flavors, each flavor's once."""
    flavors = {request.flavor: replace(request, image_properties={}) for request in requests if request.extra_specs}
    rules = profile.pipeline.filters
    texts = {
        name: dict.fromkeys((*spec_mistakes(request), *(text for rule in rules for text in rule.problems(request))))
        for name, request in flavors.items()
    }
    if not any(texts.values()):
        return []
    document = _document(cloud)
    return [
        Problem(_where(document, flavors[name], text), text) for name, mistakes in texts.items() for text in mistakes
    ]


def _document(cloud: Cloud) -> Document:
    document, _mistakes = parse((cloud.catalog_path / FLAVORS_FILE).read_bytes(), FLAVORS_FILE)
    return document


def _where(document: Document, request: GuestRequest, text: str) -> str:
    """Returns the line of the extra spec that a mistake names, else that of its flavor."""
    entries = (document.value or {}).get("flavors") or []
    at = next((index for index, entry in enumerate(entries) if entry.get("name") == request.flavor), 0)
    # Some filters name a spec without its scope.
    named = sorted((key for key in request.extra_specs if key.rpartition(":")[2] in text), key=len, reverse=True)
    named.sort(key=lambda key: key not in text)
    return document.where(("flavors", at, "extra_specs", *named[:1]))
