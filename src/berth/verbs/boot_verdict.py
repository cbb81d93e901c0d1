# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's answer to a boot means for one guest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

IMAGE_RESULT = "berth_image_result"
GUEST_RESULT = "berth_guest_result"


class Fate(StrEnum):
    """What happens to the guest next."""

    MADE = "made"  # it runs there
    ELSEWHERE = "elsewhere"  # that host made nothing of it: the next alternate may serve
    REFUSED = "refused"  # no host can help: the request itself does not hold
    LOST = "lost"  # contact broke while the host worked: it may exist there, so nowhere else


@dataclass(frozen=True)
class Verdict:
    """A fate with its reason. `result` is the guest's item of the module's answer, if there was one."""

    fate: Fate
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


def judge(uuid: str, image: str, answer: Mapping[str, Any], *, sent_before: bool) -> Verdict:
    """Returns the verdict on one guest from what its host's two tasks registered.

    `sent_before`: an earlier run handed this guest to this host and never learnt the outcome. A guest that may be on a
    host is never made on another one nor given up (promise P1): without word from the host that it is not there, it
    is LOST.
    """
    image_task = answer.get(IMAGE_RESULT) or {}
    item = _item(image_task.get("images"), "name", image)
    if item is not None and not item.get("ok"):
        return Verdict(Fate.LOST if sent_before else _fate_of(item), _message(item), item)
    guest_task = answer.get(GUEST_RESULT) or {}
    item = _item(guest_task.get("guests"), "uuid", uuid)
    if item is not None:
        if item.get("ok"):
            return Verdict(Fate.MADE, result=item)
        return Verdict(_fate_of(item) if _is_absent(item, sent_before) else Fate.LOST, _message(item), item)
    if guest_task and not guest_task.get("skipped"):
        return Verdict(Fate.LOST, _silence(guest_task, "contact broke while the guest was being made"))
    message = _silence(image_task, "the host did not answer")
    return Verdict(Fate.LOST if sent_before else Fate.ELSEWHERE, message)


def _is_absent(item: Mapping[str, Any], sent_before: bool) -> bool:
    """Returns whether a failed guest is surely not on the host: the host looked, or nothing was ever begun there."""
    if not item.get("steps"):
        return not sent_before
    return item.get("state") == "absent"


def _fate_of(item: Mapping[str, Any]) -> Fate:
    return Fate.REFUSED if item.get("kind") == "request" else Fate.ELSEWHERE


def _message(item: Mapping[str, Any]) -> str:
    return str(item.get("message") or item.get("reason") or "the host gave no reason")


def _item(items: Any, key: str, value: str) -> Mapping[str, Any] | None:
    found = [item for item in items or () if item.get(key) == value]
    return found[0] if found else None


def _silence(task: Mapping[str, Any], otherwise: str) -> str:
    text = str(task.get("msg") or otherwise).strip()
    prefix = "unreachable: " if task.get("unreachable") else ""
    return prefix + text.splitlines()[0]
