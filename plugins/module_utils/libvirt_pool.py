# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools over a folder: their XML, and what of it matters when two are compared."""

from __future__ import annotations

from typing import Any, Dict, Optional
from xml.etree import ElementTree

from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import ObjectError


class PoolKind:
    """The libvirt calls of storage pools, for libvirt_object.ensure."""

    name = "pool"

    def __init__(self, libvirt: Any, connection: Any) -> None:
        self._libvirt = libvirt
        self._connection = connection

    def find(self, name: str) -> Optional[Any]:
        try:
            return self._connection.storagePoolLookupByName(name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_STORAGE_POOL:
                return None
            raise

    def define(self, xml: str) -> Any:
        self._refuse_twin(xml)
        return self._connection.storagePoolDefineXML(xml, 0)

    def start(self, handle: Any) -> None:
        handle.create(0)

    def stored_xml(self, handle: Any) -> str:
        flags = self._libvirt.VIR_STORAGE_XML_INACTIVE if handle.isPersistent() else 0
        return str(handle.XMLDesc(flags))

    def keep_identity(self, xml: str, _handle: Any) -> str:
        return xml

    def users(self, _handle: Any) -> int:
        return 0

    def shape(self, xml: str) -> Dict[str, Any]:
        return shape(xml)

    def _refuse_twin(self, xml: str) -> None:
        """Refuses a second pool on a folder: libvirt allows one pool per folder and only says "source conflict"."""
        path = shape(xml)["path"]
        for pool in self._connection.listAllStoragePools(0):
            if shape(pool.XMLDesc(0))["path"] == path:
                raise ObjectError(f"pool {pool.name()} already serves {path}; remove it, or use its name")


def render(name: str, path: str) -> str:
    """Returns the XML of a folder's pool."""
    root = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(root, "name").text = name
    target = ElementTree.SubElement(root, "target")
    ElementTree.SubElement(target, "path").text = path
    return ElementTree.tostring(root, encoding="unicode")


def shape(xml: str) -> Dict[str, Any]:
    """Returns what two pools are compared by: type and folder. libvirt fills in sizes, owner and UUID."""
    root = ElementTree.fromstring(xml)  # noqa: S314 - libvirt's XML or our own
    return {"type": root.get("type", ""), "path": (root.findtext("target/path") or "").rstrip("/")}
