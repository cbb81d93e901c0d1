# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts Berth's playbooks through ansible-runner and turns their events into results and progress."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ansible_runner

from berth.cloud import Cloud
from berth.errors import BerthError, HostFailed, error_from_dict
from berth.interrupt import Interruption
from berth.run_folder import run_folder

COLLECTION = "berth.kvm"
# What a task of the conductor leaves in an event.
CONDUCTOR = f"{COLLECTION}.conduct"
# Ansible puts this task before every role that says what it takes; only its failure is worth a word.
VALIDATION = "ansible.builtin.validate_argument_spec"
# How a role speaks to people.
DEBUG = "ansible.builtin.debug"
# All that ansible.builtin.command says of a failure; the reason is on the command's stderr.
_COMMAND_FAILED = "non-zero return code"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Where Ansible says which line of a file is wrong.
_ORIGIN = re.compile(r"Origin: .+:\d+:\d+$")


@dataclass(frozen=True)
class Progress:
    """One thing that happened: `kind` is play, task, ok, changed, failed, unreachable or skipped.

    Or one thing that a task says to people: `kind` is said or warning, `message` the text.
    """

    kind: str
    name: str = ""
    host: str = ""
    message: str = ""


Observer = Callable[[Progress], None]


@dataclass
class RunResult:
    """What a playbook run left behind.

    `conducted` has the result of each conductor task in order; `failures` and `unreachable` map a host to its last
    message. `last_words` is what Ansible itself printed of a failure.
    """

    status: str = ""
    conducted: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    results: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    last_words: tuple[str, ...] = ()

    @property
    def last(self) -> dict[str, Any]:
        """Returns the result of the last conductor task, or an empty map."""
        return self.conducted[-1] if self.conducted else {}

    def of_task(self, action: str) -> dict[str, dict[str, Any]]:
        """Returns host -> last result of the tasks that ran `action` (a module's full name)."""
        return {host: result for name, host, result in self.results if name == action}

    def raise_for_failure(self) -> None:
        """Raises the error the conductor reported, else HostFailed if the run failed in any other way."""
        self._raise_for_conductor()
        if self.status != "successful":
            raise HostFailed(
                f"the playbook run ended as {self.status or 'unknown'}",
                details=self.failed_lines() or self.last_words,
                hint="run the same again with --debug to see Ansible's own output",
            )

    def raise_unless_hosts_failed(self) -> None:
        """Raises as raise_for_failure(), but not for hosts that failed or did not answer: the others went on."""
        self._raise_for_conductor()
        if not self.failed_hosts:
            self.raise_for_failure()

    @property
    def failed_hosts(self) -> dict[str, str]:
        """Returns host -> why, of every host that failed or did not answer."""
        return {**self.unreachable, **self.failures}

    def failed_lines(self) -> tuple[str, ...]:
        """Returns one line per host that failed or did not answer."""
        return tuple(f"{host}: {text}" for host, text in self.failed_hosts.items())

    def _raise_for_conductor(self) -> None:
        for result in self.conducted:
            if "berth_error" in result:
                raise error_from_dict(result["berth_error"])


_KINDS = {
    "playbook_on_play_start": "play",
    "playbook_on_task_start": "task",
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}


class _Collector:
    """Turns ansible-runner's events into a RunResult while the run goes on."""

    def __init__(self, observer: Observer | None) -> None:
        self.result = RunResult()
        self.observer = observer

    def __call__(self, event: dict[str, Any]) -> bool:
        kind = _KINDS.get(event.get("event", ""))
        if kind is None:
            return False
        data = event.get("event_data", {})
        outcome = data.get("res") or {}
        host = str(data.get("host", ""))
        action = str(data.get("resolved_action") or data.get("task_action") or "")
        if outcome:
            self.result.results.append((action, host, outcome))
        if action == CONDUCTOR and kind in ("ok", "failed"):
            self.result.conducted.append(outcome)
        message = _message(outcome)
        if kind == "ok" and outcome.get("changed"):
            kind = "changed"
        elif kind == "failed" and not data.get("ignore_errors"):
            self.result.failures[host] = message
        elif kind == "unreachable":
            self.result.unreachable[host] = message
        self._tell(action, Progress(kind, str(data.get("task") or data.get("name") or ""), host, message), outcome)
        return False  # nothing is kept on disk

    def _tell(self, action: str, happened: Progress, outcome: Mapping[str, Any]) -> None:
        if self.observer is None:
            return
        if happened.kind != "ok" or action not in (VALIDATION, DEBUG):
            self.observer(happened)
        said = _messages(outcome) if happened.kind == "ok" and action == DEBUG else ()
        for kind, texts in (("said", said), ("warning", _warnings(outcome))):
            for text in texts:
                self.observer(replace(happened, kind=kind, message=text))


def _message(outcome: Mapping[str, Any]) -> str:
    text = outcome.get("msg", "")
    said = str(outcome.get("stderr") or "").strip().splitlines()
    if text == _COMMAND_FAILED and said:
        return f"{text}: {said[-1]}"
    return text if isinstance(text, str) else json.dumps(text)


def _messages(outcome: Mapping[str, Any]) -> list[str]:
    """Returns what a debug task said: once, or once per item of its loop."""
    return [text for text in map(_message, _items(outcome) or [outcome]) if text]


def _warnings(outcome: Mapping[str, Any]) -> list[str]:
    """Returns each warning of a task and of the items of its loop once."""
    found = [each.get("warnings") for each in (outcome, *_items(outcome))]
    return list(dict.fromkeys(str(text) for texts in found if isinstance(texts, list) for text in texts))


def _items(outcome: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the results of a loop's items; some modules call something of their own `results`."""
    results = outcome.get("results")
    return [each for each in results if isinstance(each, Mapping)] if isinstance(results, list) else []


def own_collections_path() -> Path:
    """Returns the folder whose ansible_collections/berth/kvm belongs to this very package.

    A copy in the user's collections folder would win over site-packages and disagree with the CLI.
    """
    installed = Path(__file__).resolve().parent.parent
    if (installed / "ansible_collections" / "berth" / "kvm").is_dir():
        return installed
    return installed.parent / "collections"


def run_playbook(
    cloud: Cloud,
    playbook: str,
    extra_vars: Mapping[str, Any] | None = None,
    *,
    observer: Observer | None = None,
    debug: bool = False,
    environment: Mapping[str, str] | None = None,
) -> RunResult:
    """Runs berth.kvm.<playbook> on the cloud's inventory and returns what it left. Raises nothing for a failed host.

    `environment` is added to Ansible's.
    The run's private folder (0700) holds the variables while it lasts and is removed afterwards. Raises Interrupted
    when a signal ended it.
    """
    if shutil.which("ansible-playbook", path=_path_with_own_scripts()) is None:
        raise BerthError("ansible-playbook is not installed", hint="install berth with pip: ansible-core comes with it")
    collector = _Collector(observer)
    with Interruption() as interruption, run_folder() as private:
        runner = ansible_runner.run(
            private_data_dir=str(private),
            playbook=f"{COLLECTION}.{playbook}",
            inventory=str(cloud.inventory_path),
            extravars={**(extra_vars or {}), "berth_cloud": str(cloud.path)},
            envvars={**_environment(cloud, debug=debug), **(environment or {})},
            event_handler=collector,
            cancel_callback=interruption.is_overdue,
            settings={"pexpect_timeout": 1},
            quiet=not debug,
            verbosity=1 if debug else None,
        )
        if runner.status != "successful":
            collector.result.last_words = _last_words(runner)
    interruption.raise_if_caught()
    collector.result.status = str(runner.status)
    return collector.result


def _last_words(runner: Any) -> tuple[str, ...]:
    try:
        with runner.stdout as stream:
            return last_words(stream.read())
    except (OSError, ansible_runner.AnsibleRunnerException):
        return ()


def last_words(printed: str) -> tuple[str, ...]:
    """Returns what matters of Ansible's own output: a playbook that cannot start leaves no events.

    That is the first error, and the first line of a file that is blamed, which may stand under a warning: of an
    inventory that no plug-in can read, each plug-in's failure is only one. Without any it is the end of the output.
    """
    lines = [text for line in printed.splitlines() if (text := _ESCAPES.sub("", line).strip())]
    heads = [at for at, line in enumerate(lines) if line.startswith("[")]
    error = next((at for at in heads if lines[at].startswith("[ERROR]")), None)
    blamed = next((at for at, line in enumerate(lines) if _ORIGIN.match(line)), None)
    kept = {error, blamed, max((at for at in heads if at < blamed), default=None) if blamed is not None else None}
    return tuple(lines[at] for at in sorted(at for at in kept if at is not None)) or tuple(lines[-8:])


def _path_with_own_scripts() -> str:
    # The console script may run without its environment being activated.
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _environment(cloud: Cloud, *, debug: bool = False) -> dict[str, str]:
    configured = os.environ.get("ANSIBLE_COLLECTIONS_PATH")
    paths = [str(own_collections_path()), *([configured] if configured else [])]
    env = {
        "PATH": _path_with_own_scripts(),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(paths),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        # Ours: the events carry everything; the text is only for --debug.
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }
    if not debug:
        env["ANSIBLE_NOCOLOR"] = "1"
    config = cloud.path / "ansible.cfg"
    if config.is_file():
        env["ANSIBLE_CONFIG"] = str(config)
    return env
