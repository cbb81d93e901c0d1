# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts and guest images for tests: ask for the fixture `lab` and there are three real hosts."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import images, layout, requirements
from lab.cluster import Lab

SUITES = ["bookworm", "bookworm", "trixie"]


def need(needs: requirements.Requirements) -> None:
    """Skip where this machine lacks something; in CI, where nothing may be skipped silently, fail."""
    text = requirements.missing(needs)
    if text and os.environ.get("CI"):
        pytest.fail(f"lab tests cannot run in CI: {text}", pytrace=False)
    if text:
        pytest.skip(text)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two Debian 12 hosts and one Debian 13 host, up for all lab tests.

    LAB_NAME and LAB_SLOT choose the lab. BERTH_LAB_KEEP=1 uses hosts that are up and leaves them up; else the lab is
    made anew and taken down at the end.
    """
    need(requirements.LAB)
    cluster = Lab(layout.from_environment())
    keep = os.environ.get("BERTH_LAB_KEEP") == "1"
    if not keep:
        cluster.down()
    try:
        cluster.up(len(SUITES), SUITES)
        yield cluster
    finally:
        if not keep:
            cluster.down()


@pytest.fixture
def lab_inventory(lab: Lab, tmp_path: Path) -> Path:
    """An Ansible inventory file of the lab's hosts, in group `compute`."""
    return lab.write_inventory(tmp_path / "inventory" / "hosts.json")


@pytest.fixture(scope="session")
def guest_image() -> Callable[[str], Path]:
    """A function from an image's kind (tiny, debian-12, debian-12-libvirt) to the path of the built image."""
    need(requirements.IMAGES)
    return lambda kind: images.ensure(kind, layout.base_dir())
