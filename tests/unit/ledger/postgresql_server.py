# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of the tests' own, from the distribution's binaries. Loaded by path: runpy.run_path()."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = "/usr/lib/postgresql"
START_S = 30.0


def binaries() -> Path | None:
    """Returns the folder of the newest server's binaries, None when none is installed."""
    found = [path.parent for path in Path(BINARIES).glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name)) if found else None


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[str]:
    """Gives `postgresql+psycopg://` + everything but the database's name, of a server that dies with this process.

    It listens on a socket in a private folder only. Without `durable` it does not sync: quicker, fit for tests.
    """
    bin_path = binaries()
    assert bin_path is not None, "apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="berth-postgresql-"))
    # The server refuses to run as root.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(folder, user.pw_uid, user.pw_gid)
    become = ["setpriv", "--pdeathsig", "INT"]
    if os.getuid() == 0:
        become += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    data = folder / "data"
    init = [*become, str(bin_path / "initdb"), "-D", str(data), "-A", "trust", "-U", "berth", "-N", "-E", "UTF8"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, timeout=START_S * 2)
    settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "max_connections": "50"}
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [*become, str(bin_path / "postgres"), "-D", str(data), *options], cwd=folder, stdout=log, stderr=log
    )
    try:
        _wait(bin_path, folder, server)
        yield f"postgresql+psycopg://berth@/{{database}}?host={folder}"
    finally:
        server.terminate() if server.poll() is None else None
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.send_signal(3)  # SIGQUIT: at once
            server.wait(10)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(bin_path: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    ready = [str(bin_path / "pg_isready"), "-q", "-h", str(folder), "-U", "berth", "-d", "postgres"]
    while subprocess.run(ready, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text(errors='replace')}")
        time.sleep(0.05)
