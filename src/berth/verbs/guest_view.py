# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest is shown: the stable JSON of `berth list`, `berth show` and of every verb's result (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from berth.ledger.rows import GuestRow
from berth.units import MIB_PER_GIB, iso_time


def guest_view(row: GuestRow, silent: Collection[str] = ()) -> dict[str, Any]:
    """Returns a guest as `berth list` shows it. `silent` names the hosts that did not answer when last asked."""
    return {
        "name": row.name,
        "project": row.project,
        "uuid": row.uuid,
        "state": row.vm_state.value,
        "task": row.task_state.value if row.task_state else None,
        "power": row.power_state.value,
        "host": row.host,
        "flavor": row.flavor,
        "image": row.image,
        "addresses": addresses(row),
        "fault": row.fault or None,
        "stale": row.host in silent,
    }


def guest_details(row: GuestRow, silent: Collection[str] = ()) -> dict[str, Any]:
    """Returns a guest as `berth show` shows it: everything that is known and not secret."""
    plan = row.plan
    return {
        **guest_view(row, silent),
        "vcpus": row.vcpus,
        "memory_mib": row.memory_mib,
        "disk_mib": row.disk_mib,
        "domain_name": plan.get("domain_name"),
        "domain_type": plan.get("domain_type"),
        "networks": [
            {key: interface.get(key) for key in ("network", "kind", "mac", "address", "prefix", "gateway", "ssh_port")}
            for interface in plan.get("networks", ())
        ],
        "login_user": plan.get("login_user"),
        "ssh_host_key": row.ssh_host_key,
        "image_digest": row.image_digest,
        "server_group": row.server_group,
        "metadata": row.metadata,
        "on_host_boot": plan.get("on_host_boot"),
        "locked": lock_view(row),
        "request_id": row.request_id,
        "created_at": timestamp(row.created_at),
        "launched_at": timestamp(row.launched_at),
        "updated_at": timestamp(row.updated_at),
    }


def lock_view(row: GuestRow) -> dict[str, str | None] | None:
    """Returns who keeps verbs away from a guest, why and since when; None when nobody does."""
    if row.lock_reason is None:
        return None
    return {"by": row.locked_by, "reason": row.lock_reason, "at": timestamp(row.locked_at)}


def removal_view(row: GuestRow) -> dict[str, Any]:
    """Returns what goes when a guest is deleted: its domain, and nothing but the paths recorded for it."""
    recorded = [row.plan.get(key) for key in ("instance_dir", "console_log")]
    return {
        "name": row.name,
        "uuid": row.uuid,
        "state": row.vm_state.value,
        "host": row.host,
        "domain_name": row.plan.get("domain_name"),
        "disk_gib": row.disk_mib // MIB_PER_GIB,
        "addresses": addresses(row),
        "files": [str(path) for path in recorded if path] or ["nothing is recorded on a host yet"],
    }


def addresses(row: GuestRow) -> list[str]:
    """Returns the guest's known addresses, in the order of its interfaces."""
    return [str(interface["address"]) for interface in row.plan.get("networks", ()) if interface.get("address")]


def timestamp(seconds: float | None) -> str | None:
    """Returns a time as ISO 8601 in UTC, whole seconds."""
    return None if seconds is None else iso_time(seconds)
