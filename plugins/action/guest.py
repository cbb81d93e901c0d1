# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders guest plans on the controller and hands the definitions to the module on the host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from berth.domain import HostView, ImageOnHost, guest_definitions
from berth.errors import BerthError
from berth.verbs.journal import write_intent

# What the conductor calls the step in which a host does this.
STEPS = {"present": "guest", "absent": "remove", "running": "power", "stopped": "power", "rebooted": "power"}


class ActionModule(ActionBase):
    """The controller's half of berth.kvm.guest."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        plans, images = arguments.pop("plans", None), arguments.pop("images", None)
        journal = arguments.pop("journal", None)
        left_out: list[dict[str, Any]] = []
        try:
            if plans is not None:
                there = {item["name"]: ImageOnHost.from_result(item) for item in images or [] if item.get("ok")}
                left_out = [_without_image(plan) for plan in plans if plan["image"] not in there]
                plans = [plan for plan in plans if plan["image"] in there]
                arguments["guests"] = guest_definitions(plans, there, _host_view(variables))
            if not self._task.check_mode:
                write_intent(journal, STEPS[arguments.get("state", "present")], variables["inventory_hostname"])
        except BerthError as error:
            result.update(failed=True, msg="\n".join([error.message, *error.details]))
            if plans is not None:
                message = "; ".join([error.message, *error.details])
                result["guests"] = [*left_out, *(_refused(plan, "refused", "request", message) for plan in plans)]
            return result
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        if left_out and "guests" in result:
            result["guests"] = [*result["guests"], *left_out]
            result.update(failed=True, msg="\n".join(item["message"] for item in result["guests"] if not item["ok"]))
        return result


def _host_view(variables: dict[str, Any]) -> HostView:
    facts = variables.get("berth_host") or (variables.get("ansible_facts") or {}).get("berth_host") or {}
    return HostView.from_facts(facts)


def _without_image(plan: dict[str, Any]) -> dict[str, Any]:
    return _refused(plan, "no_image", "host", f"guest {plan['name']}: the host could not get image {plan['image']}")


def _refused(plan: dict[str, Any], reason: str, kind: str, message: str) -> dict[str, Any]:
    """Returns the result of a guest that never left the controller."""
    return {
        "uuid": plan.get("uuid"),
        "name": plan.get("name"),
        "ok": False,
        "changed": False,
        "state": "absent",
        "ssh_host_key": None,
        "reason": reason,
        "kind": kind,
        "message": message,
        "steps": [],
    }
