# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that has to end at SIGHUP ends at it, also below one that ignores it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from berth import hangup

OUTER = """
import json, signal, subprocess, sys
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
from berth import hangup
inner = ["sh", "-c", "kill -HUP $$; echo outlived"]
done = subprocess.run([*hangup.launcher(), *inner], capture_output=True, text=True)
print(json.dumps([len(hangup.launcher()) > 0, done.returncode, done.stdout]))
"""


def told(disposition: str) -> Sequence[object]:
    argv = [sys.executable, "-c", OUTER, disposition]
    found: list[object] = json.loads(subprocess.check_output(argv, text=True, timeout=30))
    return found


@pytest.mark.parametrize(("disposition", "has_words"), [("SIG_IGN", True), ("SIG_DFL", False)])
def test_the_command_ends(disposition: str, has_words: bool) -> None:
    assert told(disposition) == [has_words, -signal.SIGHUP, ""]


def test_nothing_is_added_for_what_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _signum: signal.SIG_DFL)
    assert hangup.launcher() == ()
