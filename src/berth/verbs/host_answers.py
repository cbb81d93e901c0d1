# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are told about guests they have, and how their answers are read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from berth.cloud import Cloud
from berth.domain.naming import domain_name
from berth.ledger.rows import GuestRow, HostRow
from berth.verbs.boot_verdict import GUEST_RESULT
from berth.verbs.guest_plan import HostPaths


@dataclass(frozen=True)
class Answer:
    """A host's answer about one guest."""

    ok: bool
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


def guest_answer(registered: Mapping[str, Any], uuid: str) -> Answer:
    """Returns what a host's guest task said about one guest; silence and unreachable hosts are not ok."""
    task = registered.get(GUEST_RESULT) or {}
    for item in task.get("guests") or ():
        if item.get("uuid") == uuid:
            message = str(item.get("message") or item.get("reason") or "")
            return Answer(bool(item.get("ok")), message, item)
    text = str(task.get("msg") or "the host did not answer").strip().splitlines()[0]
    return Answer(False, f"unreachable: {text}" if task.get("unreachable") else text)


def guest_targets(row: GuestRow, host: HostRow) -> dict[str, str]:
    """Returns what the guest module needs to act on a guest that is there: where it was made, not where its host keeps
    new ones now.
    """
    paths = HostPaths.of(host)
    instance_dir = str(row.plan.get("instance_dir") or paths.instance_dir(row.uuid))
    return {
        "uuid": row.uuid,
        "name": str(row.plan.get("domain_name") or domain_name(row.project, row.name)),
        "instance_dir": instance_dir,
        "instances_path": str(PurePosixPath(instance_dir).parent),
        "console_log": str(row.plan.get("console_log") or paths.console_log(row.uuid)),
    }


def share_for(cloud: Cloud, action_id: str) -> dict[str, Any]:
    """Returns a host's empty share of the work: guests, and whose journal it is."""
    return {"guests": [], "journal": {"cloud": str(cloud.path), "action": action_id, "guests": []}}


def work_on_hosts(
    hosts: Iterable[HostRow], cloud: Cloud, action_id: str, rows: Iterable[GuestRow]
) -> dict[str, dict[str, Any]]:
    """Returns host -> its share of the work on guests that are there.

    Guests on no known host are in none, and neither are those of a host in quarantine: another machine under its name
    knows nothing of them.
    """
    known = {host.name: host for host in hosts}
    work: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.host in known and not known[row.host].quarantine:
            share = work.setdefault(row.host, share_for(cloud, action_id))
            share["guests"].append(guest_targets(row, known[row.host]))
            share["journal"]["guests"].append(row.uuid)
    return work
