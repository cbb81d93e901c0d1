# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what each task did on each host, one JSON line each, to the file that RECORD_TASKS names."""

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record_tasks
type: notification
short_description: Records tasks for a test
description: One JSON line per task and host.
requirements: [RECORD_TASKS in the environment]
"""


class CallbackModule(CallbackBase):
    """The recorder."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, kind: str, result: Any) -> None:
        task = result.task
        said = result.result
        line = {
            "kind": kind,
            "host": result.host.get_name(),
            "task": task.get_name(),
            "action": task.resolved_action or task.action,
            "changed": bool(said.get("changed")),
            "msg": str(said.get("msg") or ""),
            "error": said.get("berth_error"),
        }
        with Path(os.environ["RECORD_TASKS"]).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)
