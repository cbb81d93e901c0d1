# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest definitions as the module got them, checked before anything is done with them (docs/data.md, section 2)."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import REQUEST, GuestFailure

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
DOMAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
# The files that may be a guest's own: what present makes and absent removes, under names that say so.
OWN_FILE = re.compile(r"(disk[0-9]{0,2}\.qcow2|seed\.iso|nvram\.fd|hostkey)(\.pub)?(\.part)?\Z")
DISK_FORMATS = ("qcow2",)
BACKING_FORMATS = ("qcow2", "raw")
# The policies that are rules; the soft ones are wishes, which a host does not know of.
AFFINITY, ANTI_AFFINITY = GROUP_POLICIES = ("affinity", "anti-affinity")
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Disk:
    """An overlay disk; `size_gib` is what the guest sees."""

    path: str
    size_gib: int
    backing_path: str
    backing_format: str


@dataclass(frozen=True)
class Target:
    """A guest that exists or existed: enough to start, stop and remove it."""

    uuid: str
    name: str
    instance_dir: Optional[str]
    console_log: Optional[str]


@dataclass(frozen=True)
class Definition(Target):
    """A guest to make."""

    xml: str
    vcpus: int
    memory_mib: int
    limits: Mapping[str, int]
    disks: Tuple[Disk, ...]
    seed: Mapping[str, Any]
    autostart: bool = False
    group: Optional[Mapping[str, Any]] = None

    @property
    def disk_mib(self) -> int:
        """Returns the size of all disks together, as the guest sees them."""
        return sum(disk.size_gib for disk in self.disks) * MIB_PER_GIB

    @property
    def folder(self) -> str:
        """Returns the instance folder."""
        return str(self.instance_dir)


def target_of(given: Mapping[str, Any], instances_path: str) -> Target:
    """Returns a checked target. Raises GuestFailure with all of its mistakes."""
    _raise(given, _target_mistakes(given, instances_path))
    return Target(given["uuid"], given["name"], given.get("instance_dir"), given.get("console_log"))


def definition_of(given: Mapping[str, Any], instances_path: str) -> Definition:
    """Returns a checked definition. Raises GuestFailure with all of its mistakes."""
    needed = ("xml", "vcpus", "memory_mib", "instance_dir", "console_log", "disks", "seed")
    missing = [f"{key} is missing" for key in needed if given.get(key) is None]
    mistakes = missing + _target_mistakes(given, instances_path)
    if not mistakes:
        mistakes = _disk_mistakes(given) + _seed_mistakes(given) + _xml_mistakes(given) + _group_mistakes(given)
    _raise(given, mistakes)
    disks = tuple(
        Disk(disk["path"], int(disk["size_gib"]), disk["backing"]["path"], disk["backing"]["format"])
        for disk in given["disks"]
    )
    return Definition(
        uuid=given["uuid"],
        name=given["name"],
        instance_dir=given["instance_dir"],
        console_log=given["console_log"],
        xml=given["xml"],
        vcpus=given["vcpus"],
        memory_mib=given["memory_mib"],
        limits={key: value for key, value in (given.get("limits") or {}).items() if value is not None},
        disks=disks,
        seed=given["seed"],
        autostart=bool(given.get("autostart")),
        group=given.get("group"),
    )


def _raise(given: Mapping[str, Any], mistakes: List[str]) -> None:
    if mistakes:
        raise GuestFailure("definition", f"guest {given.get('name')!r}: " + "; ".join(mistakes), REQUEST)


def _target_mistakes(given: Mapping[str, Any], instances_path: str) -> List[str]:
    uuid, name = str(given.get("uuid")), str(given.get("name"))
    if not UUID.match(uuid):
        return [f"uuid {uuid!r}, allowed is a UUID in lower case"]
    mistakes = []
    if not DOMAIN_NAME.match(name):
        mistakes.append(f"name {name!r}, allowed are letters, digits, dot, dash and underscore")
    folder = given.get("instance_dir")
    own_path = given.get("instances_path")
    if own_path is not None and not _is_plain(own_path):
        mistakes.append(f"instances_path {own_path!r}, allowed is an absolute path without dots")
    elif folder is not None:
        instances_path = own_path or instances_path
        expected = os.path.join(os.path.normpath(instances_path), uuid)
        if folder != expected:
            mistakes.append(f"instance_dir {folder!r}, allowed is {expected!r}")
        elif os.path.islink(folder) or os.path.realpath(folder) != os.path.realpath(instances_path) + "/" + uuid:
            mistakes.append(f"instance_dir {folder!r} is a link; it must be a folder of its own")
    log = given.get("console_log")
    if log is not None and not (_is_plain(log) and os.path.basename(log) == uuid + ".log"):
        mistakes.append(f"console_log {log!r}, allowed is an absolute path that ends with /{uuid}.log")
    return mistakes


def _disk_mistakes(given: Mapping[str, Any]) -> List[str]:
    mistakes = []
    for disk in given["disks"]:
        path, backing = disk.get("path"), disk.get("backing") or {}
        mistakes += _own_file_mistakes(given, "disk", path)
        if disk.get("format") not in DISK_FORMATS:
            mistakes.append(f"disk format {disk.get('format')!r}, allowed is {', '.join(DISK_FORMATS)}")
        if backing.get("format") not in BACKING_FORMATS or not _is_plain(backing.get("path")):
            mistakes.append(f"disk {path!r} needs a backing image: an absolute path and qcow2 or raw as its format")
        if not isinstance(disk.get("size_gib"), int) or disk["size_gib"] < 1:
            mistakes.append(f"disk {path!r}: size_gib {disk.get('size_gib')!r}, allowed is a whole number from 1")
    return mistakes


def _seed_mistakes(given: Mapping[str, Any]) -> List[str]:
    seed = given["seed"]
    texts = [key for key in ("meta_data", "user_data", "network_config") if not isinstance(seed.get(key), str)]
    mistakes = [f"seed.{key} must be text" for key in texts]
    return mistakes + _own_file_mistakes(given, "seed", seed.get("path"))


def _group_mistakes(given: Mapping[str, Any]) -> List[str]:
    group = given.get("group")
    if group is None:
        return []
    if group.get("policy") not in GROUP_POLICIES:
        return [f"group policy {group.get('policy')!r}, allowed is {', '.join(GROUP_POLICIES)}"]
    most = group.get("max_server_per_host")
    return [] if isinstance(most, int) and most >= 1 else [f"group max_server_per_host {most!r}, allowed is from 1"]


def _own_file_mistakes(given: Mapping[str, Any], what: str, path: Any) -> List[str]:
    folder, name = os.path.split(str(path))
    if folder == given["instance_dir"] and OWN_FILE.match(name) and not name.endswith(".part"):
        return []
    return [f"{what} {path!r}, allowed is a file such as {given['instance_dir']}/{what}.qcow2 or .iso"]


def _xml_mistakes(given: Mapping[str, Any]) -> List[str]:
    """The XML is what runs; the other keys are what was checked. They must speak of one guest."""
    try:
        root = ElementTree.fromstring(given["xml"])  # noqa: S314  the controller's own rendering
    except ElementTree.ParseError as error:
        return [f"xml is not well formed: {error}"]
    said: Dict[str, Any] = {
        "uuid": root.findtext("uuid"),
        "name": root.findtext("name"),
        "vcpus": root.findtext("vcpu"),
    }
    mistakes = [
        f"xml says {key} {value!r}, the definition {given[key]!r}"
        for key, value in said.items()
        if value != str(given[key])
    ]
    memory = root.find("memory")
    if memory is None or memory.get("unit") != "MiB" or memory.text != str(given["memory_mib"]):
        mistakes.append(f"xml does not say memory {given['memory_mib']} MiB")
    own = {disk["path"] for disk in given["disks"]} | {given["seed"]["path"]}
    used = {source.get("file") or source.get("dev") or "" for source in root.iterfind("devices/disk/source")}
    mistakes += [f"xml uses {path!r}, which is none of the guest's files" for path in sorted(used - own)]
    return mistakes


def _is_plain(path: Any) -> bool:
    return isinstance(path, str) and path.isprintable() and path.startswith("/") and os.path.normpath(path) == path
