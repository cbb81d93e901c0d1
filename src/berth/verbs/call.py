# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the conductor: what an action plug-in hands to a verb, and which verbs there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.cloud import Cloud
from berth.errors import InvalidInput

# Outcome = JSON-ready. Key `changed` reaches Ansible; `hosts` and `work` feed the next play.
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """What one phase of a verb works on.

    `request` is what the user asked for. `action_id` is the journal's action, once begun. `results` maps a host to what
    its tasks registered: variable name -> task result; a host that never answered has none. `inventory` carries
    hosts, groups and variables for the verbs that read them.
    """

    cloud: Cloud
    request: Mapping[str, Any] = field(default_factory=dict)
    action_id: str = ""
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inventory: Mapping[str, Any] = field(default_factory=dict)
    now_s: float = 0.0
    check_mode: bool = False


Phase = Callable[[Call], Outcome]

# verb -> phases. The module of a verb is berth.verbs.<verb>, a phase is a function there.
VERBS: dict[str, tuple[str, ...]] = {
    "boot": ("begin", "record", "finish"),
    "delete": ("begin", "finish"),
    "power": ("begin", "finish"),
    "start_guests": ("begin", "compare", "finish"),
    "host_prepare": ("begin", "finish"),
    "host_refresh": ("finish",),
    "host_doctor": ("finish",),
    "host_mend": ("begin", "finish"),
    "image_pull": ("begin", "finish"),
    "log": ("begin",),
}


def phase_of(verb: str, phase: str) -> Phase:
    """Returns the function that carries out one phase. Raises InvalidInput for a verb or phase there is not."""
    if phase not in VERBS.get(verb, ()):
        allowed = ", ".join(f"{name}: {'|'.join(phases)}" for name, phases in VERBS.items())
        raise InvalidInput(f"conduct: no phase {phase!r} of verb {verb!r}", hint=f"allowed: {allowed}")
    function: Phase = getattr(importlib.import_module(f"berth.verbs.{verb}"), phase)
    return function
