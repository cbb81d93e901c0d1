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
# Verbs and kills that a run must have seen, a full one and a short one.
FULL_S, FULL, SHORT = 300.0, (1000, 200), (100, 8)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_promise_is_broken(database: str) -> None:
    if database == "postgresql" and (SERVER["binaries"]() is None or importlib.util.find_spec("psycopg") is None):
        pytest.skip("no PostgreSQL here: apt-get install postgresql, pip install psycopg[binary]")
    least_verbs, least_kills = FULL if SECONDS >= FULL_S else SHORT
    command = [sys.executable, str(HERE / "soak.py"), "--database", database, "--seconds", str(SECONDS)]
    command += ["--verbs", str(least_verbs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=6 * SECONDS + 240, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    verbs, kills = (int(number) for number in re.findall(r"^(\d+) verbs ended, (\d+) kills$", done.stdout, re.M)[0])
    assert verbs >= least_verbs and kills >= least_kills
    assert re.search(r"boot done$", done.stdout, re.M) and re.search(r"delete done$", done.stdout, re.M)
