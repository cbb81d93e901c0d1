# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the domain XML that is wanted with what libvirt keeps of it, as trees.

libvirt fills in a lot (addresses, controllers, canonical machine names, units), so the question is not whether the two
are equal but whether all that is wanted is there, and whether there are devices that nobody wanted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import List, Optional, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.host_domains import UNITS

Element = ElementTree.Element

# Devices that libvirt never adds by itself: one too many of them is somebody's change.
_NEVER_ADDED = {"disk", "interface", "hostdev", "filesystem", "graphics", "tpm", "watchdog", "rng", "channel", "arg"}
# What tells two elements of one kind apart: path below the element, attribute.
_IDENTITY = {
    "disk": ("target", "dev"),
    "interface": ("mac", "address"),
    "channel": ("target", "name"),
    "controller": (".", "type"),
    "timer": (".", "name"),
    "feature": (".", "name"),
}
_SIZES = ("memory", "currentMemory")
# An alias and what libvirt makes of it, whatever the version: the guest keeps the machine it was first made with.
_MACHINES = {"q35": "pc-q35-", "pc": "pc-i440fx-", "virt": "virt-"}


@dataclass(frozen=True)
class Difference:
    """One thing that differs. `found` and `wanted` are None where there is nothing."""

    path: str
    found: Optional[str]
    wanted: Optional[str]


def differences(wanted: str, found: str) -> List[Difference]:
    """Returns what must change in the domain `found` to be the one `wanted`; nothing when it is."""
    return _compare(_parse(wanted), _parse(found), "domain")


def keep_machine(wanted: str, found: str) -> str:
    """Returns `wanted` with the exact machine version of `found`: a guest's hardware outlives upgrades of its host."""
    root, machine = _parse(wanted), _parse(found).find("os/type")
    asked = root.find("os/type")
    if asked is None or machine is None or not _is_same_machine(asked.get("machine"), machine.get("machine")):
        return wanted
    asked.set("machine", str(machine.get("machine")))
    return ElementTree.tostring(root, encoding="unicode")


def _compare(wanted: Element, found: Element, path: str) -> List[Difference]:
    differs = [
        Difference(f"{path}@{name}", found.get(name), value)
        for name, value in sorted(wanted.attrib.items())
        if not _is_same(wanted, name, value, found.get(name))
    ]
    if not len(wanted) and not _is_same_text(wanted, found):
        differs.append(Difference(path, _text(found), _text(wanted)))
    left = list(found)
    for child in wanted:
        place = f"{path}/{_tag(child)}{_label(child)}"
        match = _match(child, left)
        if match is None:
            differs.append(Difference(place, None, _summary(child)))
        else:
            left.remove(match)
            differs += _compare(child, match, place)
    extra = [child for child in left if _tag(child) in _NEVER_ADDED]
    return differs + [Difference(f"{path}/{_tag(child)}{_label(child)}", _summary(child), None) for child in extra]


def _match(child: Element, candidates: List[Element]) -> Optional[Element]:
    """Returns the first candidate of the same kind and identity."""
    return next(
        (other for other in candidates if other.tag == child.tag and _identity(other) == _identity(child)), None
    )


def _identity(element: Element) -> Tuple[str, ...]:
    where = _IDENTITY.get(_tag(element))
    if where is None:
        return ()
    path, name = where
    holder = element if path == "." else element.find(path)
    return () if holder is None else ((holder.get(name) or "").lower(),)


def _label(element: Element) -> str:
    identity = _identity(element)
    return f"[{identity[0]}]" if identity else ""


def _is_same(wanted: Element, name: str, value: str, other: Optional[str]) -> bool:
    if _tag(wanted) in _SIZES and name == "unit":
        return True  # compared with the number
    if _tag(wanted) == "type" and name == "machine":
        return _is_same_machine(value, other)
    if _tag(wanted) == "graphics" and name == "port" and value == "-1":
        return True  # libvirt chooses one at each start
    if name == "address" and _tag(wanted) == "mac":
        return value.lower() == (other or "").lower()
    return value == other


def _is_same_machine(wanted: Optional[str], found: Optional[str]) -> bool:
    prefix = _MACHINES.get(wanted or "")
    return wanted == found or bool(prefix and (found or "").startswith(prefix))


def _is_same_text(wanted: Element, found: Element) -> bool:
    if _tag(wanted) in _SIZES:
        return _bytes(wanted) == _bytes(found)
    return _text(wanted) == _text(found)


def _bytes(element: Element) -> int:
    return int(_text(element) or 0) * UNITS[element.get("unit", "KiB").lower()]


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _summary(element: Element) -> str:
    """Returns an element as one short line."""
    attributes = "".join(f" {name}={value!r}" for name, value in sorted(element.attrib.items()))
    inner = ", ".join(_summary(child) for child in element)
    return f"<{_tag(element)}{attributes}>" + (f" ({inner})" if inner else _text(element))


def _parse(xml: str) -> Element:
    return ElementTree.fromstring(xml)  # noqa: S314  libvirt's own words, or what we rendered
