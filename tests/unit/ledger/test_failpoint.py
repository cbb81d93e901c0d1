# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from berth.ledger import failpoint


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BERTH_FAILPOINT", raising=False)
    failpoint.reach("boot.record.before")
    monkeypatch.setenv("BERTH_FAILPOINT", "boot.record.after")
    monkeypatch.setenv("BERTH_FAILPOINT_FILE", str(tmp_path / "reached"))
    failpoint.reach("boot.record.before")
    assert not (tmp_path / "reached").exists()


def test_a_run_waits_at_its_failpoint_and_ends_by_itself(tmp_path: Path) -> None:
    code = "from berth.ledger import failpoint; failpoint.WAIT_S = 0.2; failpoint.reach('boot.record.before')"
    env = os.environ | {"BERTH_FAILPOINT": "boot.record.before", "BERTH_FAILPOINT_FILE": str(tmp_path / "reached")}
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert time.monotonic() - start > 0.2
    assert (tmp_path / "reached").read_text() == "boot.record.before"


def test_a_run_goes_on_when_it_is_told(tmp_path: Path) -> None:
    code = "from berth.ledger import failpoint; failpoint.reach('boot.record.before'); print('went on')"
    report = tmp_path / "reached"
    env = os.environ | {"BERTH_FAILPOINT": "boot.record.before", "BERTH_FAILPOINT_FILE": str(report)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as run:
        while not report.exists():
            assert run.poll() is None
            time.sleep(0.01)
        (tmp_path / f"reached{failpoint.GO_ON}").touch()
        assert run.communicate(timeout=30)[0] == "went on\n"
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=30, check=False).returncode == 0
