# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders guest plans on the controller and hands the definitions to the module on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase

from berth.domain import HostView, ImageOnHost, guest_definition
from berth.errors import BerthError
from berth.verbs.journal import with_user_data, write_intent

# What the conductor calls the step in which a host does this.
STEPS = {"present": "guest", "absent": "remove", "running": "power", "stopped": "power", "rebooted": "power"}
# A module writes its arguments to the host's system log, the user's own text among them.
UNLOGGED = {"ansible_no_target_syslog": True}

Plan = Mapping[str, Any]
Item = dict[str, Any]


class ActionModule(ActionBase):
    """The controller's half of berth.kvm.guest."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        plans, images = arguments.pop("plans", None), arguments.pop("images", None) or []
        journal = arguments.pop("journal", None)
        refused: list[Item] = []
        try:
            if plans is not None:
                plans = with_user_data(journal, plans)
                arguments["guests"], refused = render(plans, images, _host_view(variables))
            if not self._task.check_mode:
                write_intent(journal, STEPS[arguments.get("state", "present")], variables["inventory_hostname"])
        except BerthError as error:
            result.update(failed=True, msg="\n".join([error.message, *error.details]))
            return result
        if arguments.get("guests") or not refused:
            result.update(self._execute_module(module_args=arguments, task_vars={**variables, **UNLOGGED}))
        if refused:
            result["guests"] = in_order(plans, [*result.get("guests", []), *refused])
            said = [result.get("msg"), *(item["message"] for item in refused)]
            result.update(failed=True, msg="\n".join(line for line in said if line))
        # The definitions again, with the XML of every guest: nobody reads them there.
        result.pop("invocation", None)
        return result


def render(plans: Sequence[Plan], images: Sequence[Item], host: HostView) -> tuple[list[Item], list[Item]]:
    """Returns the definitions of the plans, and the results of those that must not reach the host."""
    by_name = {item.get("name"): item for item in images}
    definitions, refused = [], []
    for plan in plans:
        image = by_name.get(plan.get("image"), {})
        if not image.get("ok"):
            refused.append(_without_image(plan, image))
            continue
        try:
            definitions.append(guest_definition(plan, image=ImageOnHost.from_result(image), host=host))
        except BerthError as error:
            said = "; ".join([error.message, *error.details])
            refused.append(_refused(plan, "definition", "request", said))
    return definitions, refused


def in_order(plans: Sequence[Plan], items: Sequence[Item]) -> list[Item]:
    """Returns the results in the order of the plans."""
    place = {plan.get("uuid"): index for index, plan in enumerate(plans)}
    return sorted(items, key=lambda item: place.get(item.get("uuid"), len(place)))


def _host_view(variables: Mapping[str, Any]) -> HostView:
    facts = variables.get("berth_host") or (variables.get("ansible_facts") or {}).get("berth_host") or {}
    return HostView.from_facts(facts)


def _without_image(plan: Plan, image: Mapping[str, Any]) -> Item:
    why = image.get("message") or f"the host has no image {plan.get('image')!r}; let berth.kvm.image make it present"
    return _refused(plan, "no_image", image.get("kind") or "host", f"guest {plan.get('name')}: {why}")


def _refused(plan: Plan, reason: str, kind: str, message: str) -> Item:
    """Returns the result of a guest that never left the controller: of the host nothing is known."""
    return {
        "uuid": plan.get("uuid"),
        "name": plan.get("domain_name"),
        "ok": False,
        "changed": False,
        "state": "unknown",
        "ssh_host_key": None,
        "pending_restart": False,
        "reason": reason,
        "kind": kind,
        "message": message,
        "steps": [],
    }
