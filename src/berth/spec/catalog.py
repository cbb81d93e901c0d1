# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog: everything a cloud offers, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.spec.image import Image
from berth.spec.model import Flavor, KeyPair, Project
from berth.spec.network import Network

DEFAULT_PROJECT = "default"


@dataclass(frozen=True)
class Catalog:
    """What a cloud offers: for each kind a read-only mapping name -> entry, in the order of the file."""

    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    keypairs: Mapping[str, KeyPair] = field(default_factory=dict)
    projects: Mapping[str, Project] = field(default_factory=dict)
