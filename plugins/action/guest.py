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
        try:
            if plans is not None:
                arguments["guests"] = self._definitions(plans, images or [], variables)
            if not self._task.check_mode:
                write_intent(journal, STEPS[arguments.get("state", "present")], variables["inventory_hostname"])
        except BerthError as error:
            result.update(failed=True, msg="\n".join([error.message, *error.details]))
            if plans is not None:
                result["guests"] = [_refused(plan, error) for plan in plans]
            return result
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result

    def _definitions(
        self, plans: list[dict[str, Any]], images: list[dict[str, Any]], variables: dict[str, Any]
    ) -> list[dict[str, Any]]:
        on_host = {item["name"]: ImageOnHost.from_result(item) for item in images if item.get("ok")}
        facts = variables.get("berth_host") or (variables.get("ansible_facts") or {}).get("berth_host") or {}
        return guest_definitions(plans, on_host, HostView.from_facts(facts))


def _refused(plan: dict[str, Any], error: BerthError) -> dict[str, Any]:
    """Returns the result of a guest that never left the controller: no host can help."""
    message = "; ".join([error.message, *error.details])
    return {
        "uuid": plan.get("uuid"),
        "name": plan.get("name"),
        "ok": False,
        "changed": False,
        "state": "absent",
        "ssh_host_key": None,
        "reason": "refused",
        "kind": "request",
        "message": message,
        "steps": [],
    }
