# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotas: the catalog's limits as the ledger counts them, and what a project uses of them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from berth.ledger.quota import PER_GUEST
from berth.ledger.rows import Quota, Usage
from berth.units import MIB_PER_GIB

if TYPE_CHECKING:
    from berth.spec.model import Quota as CatalogQuota


def ledger_quota(given: CatalogQuota) -> Quota:
    """Returns a project's limits of the catalog (Nova's words, -1 unlimited) in the ledger's words and units."""
    return Quota(
        guests=_limit(given.instances),
        vcpus=_limit(given.cores),
        memory_mib=_limit(given.ram_mib),
        disk_mib=_limit(given.disk_gib, MIB_PER_GIB),
        server_groups=_limit(given.server_groups),
        metadata_items=_limit(given.metadata_items),
        injected_files=_limit(given.injected_files),
        injected_file_content_bytes=_limit(given.injected_file_content_bytes),
    )


def quota_rows(project: str, quota: Quota, used: Usage, groups: int) -> list[dict[str, Any]]:
    """Returns one row per limit: what is used, the limit and what is left (None: unlimited).

    Limits per guest have nothing used: they bound each one alone.
    """
    counted = {field.name: getattr(used, field.name, None) for field in fields(Quota)}
    counted["server_groups"] = groups
    rows = []
    for name, now in counted.items():
        limit = getattr(quota, name)
        left = None if limit is None or now is None else max(0, limit - now)
        scope = "guest" if name in PER_GUEST else "project"
        rows.append({"project": project, "resource": name, "per": scope, "used": now, "limit": limit, "left": left})
    return rows


def _limit(value: int, factor: int = 1) -> int | None:
    return None if value < 0 else value * factor
