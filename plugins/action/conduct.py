# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one phase of a verb on the controller: task variables in, one call into berth, task result out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.berth.kvm.plugins.plugin_utils.inventory_groups import inventory_view

# Imported here and not in run(): the parent process loads this file once and the workers, one per task, inherit it.
# The verb's own module would be imported by every worker again; boot brings in all that takes long.
import berth.verbs.boot  # noqa: F401
from berth.cloud import find_cloud
from berth.errors import BerthError
from berth.verbs.call import Call, phase_of
from berth.verbs.worker import end_with_run

ARGUMENTS = {
    "verb": {"type": "str", "required": True},
    "phase": {"type": "str", "required": True},
    "cloud": {"type": "path"},
    "request": {"type": "dict", "default": {}},
    "action": {"type": "str", "default": ""},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "collect": {"type": "list", "elements": "str", "default": ["berth_image_result", "berth_guest_result"]},
    "inventory": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """The conductor's step. Never touches a host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        end_with_run()
        try:
            outcome = self._conduct(args, variables)
        except BerthError as error:
            lines = [error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else [])]
            result.update(failed=True, msg="\n".join(lines), berth_error=error.to_dict())
            return result
        result.update({"changed": False, **outcome})
        return result

    def _conduct(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        cloud = find_cloud(args["cloud"] or variables.get("berth_cloud") or _inventory_folder(variables))
        hostvars = variables["hostvars"]
        # A host that left the inventory meanwhile has not answered.
        answers = {host: hostvars[host] if host in hostvars else {} for host in args["hosts"]}
        results = {
            host: {name: answer[name] for name in args["collect"] if name in answer} for host, answer in answers.items()
        }
        call = Call(
            cloud=cloud,
            request=args["request"],
            action_id=args["action"],
            results=results,
            inventory=inventory_view(self._loader, variables) if args["inventory"] else {},
            now_s=time.time(),
            check_mode=self._task.check_mode,
        )
        return phase_of(args["verb"], args["phase"])(call)


def _inventory_folder(variables: dict[str, Any]) -> str | None:
    """Returns the cloud that the inventory lies in, if it does; else the environment and the current folder decide."""
    folder = variables.get("inventory_dir")
    for candidate in (Path(folder), Path(folder).parent) if folder else ():
        if (candidate / "berth.yml").is_file():
            return str(candidate)
    return None
