# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual environment with the real Nova from PyPI, made once in the checkout's cache folder."""

import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "34.0.0"
ROOT = Path(__file__).resolve().parents[2]


def nova_python() -> Path:
    """Returns the Python that has Nova. Raises CalledProcessError when it cannot be installed: nothing is skipped."""
    folder = ROOT / ".cache" / f"nova-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"nova=={VERSION}"]
    subprocess.run(pip, check=True, timeout=900, stderr=subprocess.DEVNULL)
    ready.touch()
    return python
