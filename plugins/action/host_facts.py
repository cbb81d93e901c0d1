# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs berth.kvm.host_facts and sets the two clocks right: the way to the host takes time, up to seconds."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase

from berth.verbs.host_refresh import clock_offset_s


class ActionModule(ActionBase):
    """The module with the controller's clock before and after it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        begin = time.time()
        arguments = {**self._task.args, "controller_time": begin}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        host = result.get("host")
        if isinstance(host, dict) and not result.get("failed"):
            host["clock_offset_s"] = clock_offset_s(host["collected_at"], begin, time.time())
            result["ansible_facts"] = {"berth_host": host}
        return result
