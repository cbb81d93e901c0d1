# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak, short, in the ordinary tests: `make test-soak` runs it for five minutes on each database.

BERTH_SOAK_SECONDS sets how long; from 300 on the run must have done the work of a full one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SERVER = runpy.run_path(str(HERE.parent / "unit/ledger/postgresql_server.py"))
SECONDS = float(os.environ.get("BERTH_SOAK_SECONDS", "15"))
FULL_S, FULL_VERBS, FULL_KILLS = 300.0, 1000, 200


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_promise_is_broken(database: str) -> None:
    if database == "postgresql" and (SERVER["binaries"]() is None or importlib.util.find_spec("psycopg") is None):
        pytest.skip("no PostgreSQL here: apt-get install postgresql, pip install psycopg[binary]")
    command = [sys.executable, str(HERE / "soak.py"), "--database", database, "--seconds", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 240, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    verbs, kills = (int(number) for number in re.findall(r"^(\d+) verbs ended, (\d+) kills$", done.stdout, re.M)[0])
    # How much a short run does, the machine's other work decides.
    enough = (FULL_VERBS, FULL_KILLS) if SECONDS >= FULL_S else (20, 5)
    assert verbs >= enough[0] and kills >= enough[1]
    assert re.search(r"boot done$", done.stdout, re.M) and re.search(r"delete done$", done.stdout, re.M)
