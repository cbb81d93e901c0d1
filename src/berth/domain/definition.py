# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest definitions: everything a host is told about a guest, with nothing left to decide there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from berth.domain.model import HostView, ImageOnHost
from berth.domain.render import disks_of, render_domain, seed_path_of
from berth.domain.seed import seed_of
from berth.errors import InvalidInput, NotFound


def guest_definitions(
    plans: Sequence[Mapping[str, Any]], images: Mapping[str, ImageOnHost], host: HostView
) -> list[dict[str, Any]]:
    """Returns one definition per plan, in order (docs/data.md, section 2). `images` is by image name.

    Raises InvalidInput with the mistakes of all plans, NotFound for an image that the host does not have.
    """
    definitions, mistakes = [], []
    for plan in plans:
        image = images.get(str(plan.get("image")))
        if image is None:
            raise NotFound(
                f"guest {plan.get('name')!r}: the host has no image {plan.get('image')!r}",
                hint="let berth.kvm.image make it present first",
            )
        try:
            definitions.append(guest_definition(plan, image=image, host=host))
        except InvalidInput as error:
            mistakes.append(error)
    if mistakes:
        details = tuple(line for error in mistakes for line in (error.message, *error.details))
        raise InvalidInput(f"{len(mistakes)} of {len(plans)} guests cannot be made", details=details)
    return definitions


def guest_definition(plan: Mapping[str, Any], *, image: ImageOnHost, host: HostView) -> dict[str, Any]:
    """Returns the definition of one plan. Raises InvalidInput with all of its mistakes."""
    asked = plan.get("domain_type")
    domain_type = host.domain_type if asked == "auto" else str(asked)
    # A plan that was made for a host says it; one of a user's own playbook leaves it to the facts of the play.
    disk_cache = plan.get("disk_cache") or host.disk_cache
    xml = render_domain(plan, image=image, domain_type=domain_type, disk_cache=disk_cache)
    return {
        "uuid": plan["uuid"],
        "name": plan["domain_name"],
        "xml": xml,
        "vcpus": plan["vcpus"],
        "memory_mib": plan["memory_mib"],
        "disk_gib": plan["disk_gib"],
        "limits": dict(plan.get("limits") or {}),
        "group": _group(plan),
        "instance_dir": plan["instance_dir"],
        "console_log": plan["console_log"],
        "autostart": plan.get("on_host_boot") == "start",
        "disks": disks_of(plan, image),
        "seed": seed_of(plan, seed_path_of(plan)),
    }


def _group(plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the server group with the rule that the host is to look at; None when no rule binds the guest."""
    policy = plan.get("group_policy")
    if not plan.get("server_group") or not policy:
        return None
    identity = {"cloud": plan.get("cloud"), "project": plan["project"], "name": plan["server_group"]}
    return {**identity, **policy, "members": list(plan.get("group_members") or ())}
