# SPDX-License-Identifier: GPL-3.0-or-later
"""What rendering needs to know besides the guest's plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# O_DIRECT, which cache mode none needs, came to tmpfs with Linux 6.6 (commit e88e0d366f9c) and never to ramfs.
_NO_DIRECT_IO = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class ImageOnHost:
    """An image in a host's cache, as berth.kvm.image left it."""

    path: str
    format: str
    digest: str
    virtual_size_bytes: int

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> ImageOnHost:
        """Returns the image of one result of berth.kvm.image (docs/data.md, section 4)."""
        return cls(
            path=result["path"],
            format=result["format"],
            digest=result["digest"],
            virtual_size_bytes=int(result["virtual_size_bytes"]),
        )


@dataclass(frozen=True)
class HostView:
    """What the guests' XML depends on about their host."""

    domain_type: str = "qemu"
    disk_cache: str = "none"

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> HostView:
        """Returns the view of a host's facts (docs/data.md, section 1)."""
        filesystem = (facts.get("storage") or {}).get("filesystem")
        return cls(
            domain_type=str((facts.get("virtualization") or {}).get("domain_type") or "qemu"),
            disk_cache="writeback" if filesystem in _NO_DIRECT_IO else "none",
        )
