# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks and storage pools are kept alike: compare, define, start, autostart. This is that one way.

A kind is a small class with the libvirt calls of its objects; see NetworkKind in libvirt_network.py for the shape.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional
from xml.etree import ElementTree

NAMESPACE = "urn:berth:{kind}:1"


class ObjectError(Exception):
    """The object cannot be made as asked. The text says what to do."""


class Outcome:
    """What happened to one object, or in a dry run what would."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.actions: List[str] = []
        self.before = ""
        self.after = ""
        self.warning: Optional[str] = None

    @property
    def changed(self) -> bool:
        """Returns whether anything was, or would be, done."""
        return bool(self.actions)

    def to_dict(self) -> Dict[str, Any]:
        """Returns the outcome as JSON-ready data."""
        return {"name": self.name, "changed": self.changed, "actions": self.actions, "warning": self.warning}

    def diff(self) -> Dict[str, str]:
        """Returns the difference in the form Ansible prints."""
        return {
            "before": self.before,
            "after": self.after,
            "before_header": self.name,
            "after_header": self.name,
        }


def ensure(kind: Any, name: str, wanted_xml: str, check_mode: bool) -> Outcome:
    """Makes the object exist as wanted, active and started with its daemon. Returns what was done.

    An object of that name that is not ours is used when it is as wanted, and else refused with ObjectError: it is
    somebody's. An active object that something uses is defined anew but not restarted; the outcome then warns.
    Raises libvirt.libvirtError.
    """
    outcome = Outcome(name)
    wanted = kind.shape(wanted_xml)
    outcome.after = _text(wanted)
    found = kind.find(name)
    if found is None:
        outcome.actions += ["define", "start", "autostart"]
        if not check_mode:
            _start(kind, kind.define(wanted_xml))
        return outcome
    _compare(kind, found, wanted_xml, outcome)
    if not found.isActive():
        outcome.actions.append("start")
    if not found.autostart():
        outcome.actions.append("autostart")
    if outcome.changed and not check_mode:
        _apply(kind, found, wanted_xml, outcome.actions)
    return outcome


def _compare(kind: Any, found: Any, wanted_xml: str, outcome: Outcome) -> None:
    stored = kind.stored_xml(found)
    shape, wanted = kind.shape(stored), kind.shape(wanted_xml)
    outcome.before = _text(shape)
    if shape != wanted:
        if not is_ours(stored, kind.name):
            raise ObjectError(
                f"{kind.name} {outcome.name} exists on this host and is not Berth's: it is {_inline(shape)}, wanted is "
                f"{_inline(wanted)}; rename one of the two, or remove the one on the host"
            )
        outcome.actions.append("define")
    elif not found.isPersistent():
        outcome.actions.append("define")
    if not found.isActive():
        return
    if kind.shape(found.XMLDesc(0)) == wanted:
        return
    users = kind.users(found)
    if users:
        outcome.warning = (
            f"{kind.name} {outcome.name} is used by {users} running guest interface(s), so its new definition takes "
            "effect when it is next started"
        )
    else:
        outcome.actions.append("restart")


def _apply(kind: Any, found: Any, wanted_xml: str, actions: List[str]) -> None:
    if "define" in actions:
        found = kind.define(kind.keep_identity(wanted_xml, found))
    if "restart" in actions:
        found.destroy()
    _start(kind, found)


def _start(kind: Any, handle: Any) -> None:
    if not handle.isActive():
        kind.start(handle)
    if not handle.autostart():
        handle.setAutostart(1)


def is_ours(xml: str, kind_name: str) -> bool:
    """Returns whether the object's metadata say that Berth made it."""
    tag = "{%s}%s" % (NAMESPACE.format(kind=kind_name), kind_name)
    return ElementTree.fromstring(xml).find(f"metadata/{tag}") is not None  # noqa: S314 - libvirt's own XML


def _text(shape: Dict[str, Any]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in sorted(shape.items()))


def _inline(shape: Dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(shape.items()) if value)
