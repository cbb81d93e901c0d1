# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the domain XML that is wanted with what libvirt kept of it.

libvirt fills in a lot (addresses, aliases, controllers, canonical machine names, units), so the question is not whether
the two are equal but whether everything that is wanted is there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import List, Optional

# What libvirt resolves to a value of its own: element path -> attribute.
_RESOLVED = {("domain", "os", "type"): "machine"}
_MIB_PER_UNIT = {"KiB": 1.0 / 1024, "MiB": 1.0, "GiB": 1024.0, "b": 1.0 / 1048576, "bytes": 1.0 / 1048576}


def differences(wanted: str, found: str) -> List[str]:
    """Returns one line per thing that is wanted and not in `found`; empty when the domain is as wanted."""
    return _missing(ElementTree.fromstring(wanted), ElementTree.fromstring(found), ())


def _missing(wanted, found, parents) -> List[str]:
    path = parents + (wanted.tag.rpartition("}")[2],)
    lines = []
    for name, value in wanted.attrib.items():
        other = found.get(name)
        if not _same_value(path, name, value, other, wanted, found):
            lines.append("%s: %s is %r, wanted %r" % ("/".join(path), name, other, value))
    text = (wanted.text or "").strip()
    if text and not len(wanted) and not _same_text(path, wanted, found):
        shown = "(another record)" if len(text) > 60 else repr((found.text or "").strip())
        lines.append("%s: found %s, wanted %s" % ("/".join(path), shown, text if len(text) <= 60 else "the new one"))
    left = list(found)
    for child in wanted:
        candidates = [other for other in left if other.tag == child.tag]
        best = _best(child, candidates, path)
        if best is None:
            lines.append("%s: no %s" % ("/".join(path), child.tag.rpartition("}")[2]))
        else:
            left.remove(best)
            lines.extend(_missing(child, best, path))
    return lines


def _best(child, candidates, path) -> Optional[ElementTree.Element]:
    """Returns the candidate that lacks least of what is wanted."""
    if not candidates:
        return None
    return min(candidates, key=lambda other: len(_missing(child, other, path)))


def _same_value(path, name, value, other, wanted, found) -> bool:
    if value == other:
        return True
    if path[-1] in ("memory", "currentMemory") and name == "unit":
        return True  # compared with the number
    if _RESOLVED.get(path) == name and other is not None:
        return other == value or other.startswith(("pc-%s-" % value, "pc-i440fx-" if value == "pc" else "\0"))
    if name == "port" and value == "-1":
        return True  # autoport
    return False


def _same_text(path, wanted, found) -> bool:
    mine, theirs = (wanted.text or "").strip(), (found.text or "").strip()
    if mine == theirs:
        return True
    if path[-1] in ("memory", "currentMemory"):
        return _mib(wanted) == _mib(found)
    return False


def _mib(element) -> float:
    return float((element.text or "0").strip()) * _MIB_PER_UNIT.get(element.get("unit", "KiB"), 1.0 / 1024)
