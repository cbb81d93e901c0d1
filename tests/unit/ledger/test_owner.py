# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from berth.ledger import owner as owner_module
from berth.ledger.owner import Owner, proof_of_death, proof_of_life


def test_this_process_lives() -> None:
    owner = Owner.of_process()
    assert owner.pid == os.getpid()
    assert owner == Owner.of_process(os.getpid())
    assert proof_of_death(owner) is None
    assert f"pid {os.getpid()}" in str(owner)


def test_a_process_is_dead_once_killed_even_before_it_is_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = Owner.of_process(process.pid)
    assert proof_of_death(owner) is None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert proof_of_death(owner) == f"no process {process.pid} on {owner.host}"
    process.communicate()
    assert proof_of_death(owner) == f"no process {process.pid} on {owner.host}"


@pytest.mark.parametrize(
    ("change", "proof"),
    [
        ({"started_ticks": 1}, "is another one now"),
        ({"boot_id": "of-yesterday"}, "was booted again since"),
        ({"boot_id": "of-yesterday", "pid_namespace": "pid:[1]"}, "was booted again since"),
        ({"pid_namespace": "pid:[1]", "pid": 2**22 + 1}, None),
        ({"host": "elsewhere", "boot_id": "other"}, None),
        ({"machine_id": "twin", "boot_id": "other"}, None),
    ],
)
def test_only_what_is_proved_counts(change: dict[str, str], proof: str | None) -> None:
    found = proof_of_death(replace(Owner.of_process(), **change))  # type: ignore[arg-type]
    assert (found is None) == (proof is None)
    assert proof is None or proof in (found or "")


@pytest.mark.parametrize(
    ("machine_id", "boot_id", "change", "proof"),
    [
        ("", "b1", {"boot_id": "b2"}, None),
        ("", "b1", {"pid": 2**22 + 1}, "no process"),
        ("", "", {"pid": 2**22 + 1}, None),
        ("m", "", {"boot_id": "b2"}, None),
        ("m", "b1", {"boot_id": ""}, None),
        ("m", "", {"pid": 2**22 + 1}, None),
        ("m", "b1", {"boot_id": "b2"}, "was booted again since"),
    ],
)
def test_two_containers_without_ids_may_be_on_two_machines(
    machine_id: str, boot_id: str, change: dict[str, str], proof: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A boot id names one boot of one kernel, so within it a process can be looked for without a machine id."""
    ids = {"/etc/machine-id": machine_id, "/proc/sys/kernel/random/boot_id": boot_id}
    monkeypatch.setattr(owner_module, "_read", ids.__getitem__)
    found = proof_of_death(replace(Owner.of_process(), **change))  # type: ignore[arg-type]
    assert (found is None) == (proof is None)
    assert proof is None or proof in (found or "")


def test_without_a_pid_namespace_nothing_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "_pid_namespace", lambda: "")
    assert proof_of_death(replace(Owner.of_process(), pid=2**22 + 1)) is None


@pytest.mark.parametrize("hidden", [FileNotFoundError, PermissionError], ids=["hidepid=2", "hidepid=1"])
@pytest.mark.parametrize("answer", [None, PermissionError, ProcessLookupError])
def test_of_a_process_that_proc_hides_only_the_kernel_proves_death(
    hidden: type[OSError], answer: type[OSError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner.of_process()
    hide_processes(monkeypatch, hidden)
    monkeypatch.setattr(os, "kill", lambda _pid, _signal: raise_if(answer))
    dead = f"no process {owner.pid} on {owner.host}"
    assert proof_of_death(owner) == (dead if answer is ProcessLookupError else None)


def test_a_process_whose_start_was_hidden_is_not_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as hiding:
        hide_processes(hiding, PermissionError)
        owner = Owner.of_process()
    assert owner.started_ticks == 0
    assert proof_of_death(owner) is None


def hide_processes(monkeypatch: pytest.MonkeyPatch, error: type[OSError]) -> None:
    read = Path.read_text

    def refuse(path: Path, **how: str) -> str:
        if path.name == "stat":
            raise error(str(path))
        return read(path, **how)

    monkeypatch.setattr(Path, "read_text", refuse)


def raise_if(error: type[OSError] | None) -> None:
    if error is not None:
        raise error


def test_a_name_with_brackets_and_spaces_does_not_hide_the_start() -> None:
    code = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) b (c', 0, 0, 0); print('x', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"x\n"
    owner = Owner.of_process(process.pid)
    assert owner.started_ticks > 0
    assert proof_of_death(owner) is None
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("change", "proof"),
    [
        ({}, "process {pid} works on this machine"),
        ({"started_ticks": 1}, None),
        ({"pid": 2**22 + 1}, None),
        ({"pid_namespace": "pid:[1]"}, None),
        ({"pid_namespace": ""}, None),
        ({"boot_id": "of-yesterday"}, None),
        ({"host": "elsewhere"}, None),
        ({"machine_id": "twin"}, None),
    ],
)
def test_only_a_process_that_is_seen_is_alive(change: dict[str, str], proof: str | None) -> None:
    found = proof_of_life(replace(Owner.of_process(), **change))  # type: ignore[arg-type]
    assert found == (proof.format(pid=os.getpid()) if proof else None)
