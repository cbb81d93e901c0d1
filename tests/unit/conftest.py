# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests of several parts share: a real libvirt that is nobody else's."""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import libvirt
import pytest

LAUNCHER = Path(__file__).parents[2] / "demo" / "private_libvirtd.py"


def _launcher():
    spec = importlib.util.spec_from_file_location("private_libvirtd", LAUNCHER)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def private_libvirtd():
    """Returns a running demo.private_libvirtd.PrivateLibvirtd; every guest in it ends with the session."""
    launcher = _launcher()
    reason = launcher.why_impossible()
    if reason:
        pytest.skip(f"no private libvirtd: {reason}")
    # Short, because of the socket's path, and open to QEMU's user, which pytest's own folders are not.
    folder = Path(tempfile.mkdtemp(prefix="berth-", dir="/tmp"))
    folder.chmod(0o711)
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        with launcher.PrivateLibvirtd(folder) as daemon:
            yield daemon
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def libvirt_uri(private_libvirtd):
    """Returns the URI of a libvirt with the QEMU driver that no other test session uses."""
    return private_libvirtd.uri
