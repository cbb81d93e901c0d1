# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts and guest images for tests: ask for the fixture `lab` and there are three real hosts."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import images, layout, requirements
from lab.cloud import LabCloud
from lab.cluster import Lab
from lab.shell import run

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


# What the tests' cloud has besides what `berth init` writes. The data bridge of the lab is one network of all hosts.
NETWORKS = (
    {"name": "leased", "kind": "nat", "cidr": "192.168.151.0/24", "assignment": "dhcp"},
    {"name": "slirp", "kind": "user"},
)
FLAVORS = (
    {"name": "m1.debian", "vcpus": 1, "memory_mib": 1024, "disk_gib": 4},
    {"name": "m1.huge", "vcpus": 64, "memory_mib": 256, "disk_gib": 1},
)


@pytest.fixture(scope="session")
def cloud(lab: Lab, guest_image: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    """A cloud whose three hosts are prepared and have the image tiny; every test leaves it without guests.

    With BERTH_LAB_KEEP=1 it is kept beside the hosts and used again.
    """
    keep = os.environ.get("BERTH_LAB_KEEP") == "1"
    folder = lab.layout.dir / "cloud" if keep else tmp_path_factory.mktemp("lab") / "cloud"
    made = LabCloud(lab, folder)
    ready = folder / "runs" / "prepared"
    if ready.exists():
        made.delete_all()
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        made.run([str(Path(sys.executable).parent / "berth"), "init", ".", "--public-key", f"{made.identity}.pub"])
        fill(made, guest_image)
        made.berth("host", "prepare", timeout_s=900)
        made.berth("image", "pull", "tiny", "idle")
        ready.parent.mkdir(exist_ok=True)
        ready.touch()
    yield made
    shutil.rmtree(made.scratch, ignore_errors=True)


def fill(cloud: LabCloud, guest_image: Callable[[str], Path]) -> None:
    """Put the lab's hosts, images and networks into a fresh cloud."""
    (cloud.folder / "inventory" / "hosts.yml").unlink()
    cloud.lab.write_inventory(cloud.folder / "inventory" / "hosts.json")
    images_folder = cloud.folder / "images"
    images_folder.mkdir()
    (images_folder / "tiny.qcow2").symlink_to(guest_image("tiny"))
    # A disk without a system: its guest idles in the firmware, costs nothing and hears no shutdown.
    run("qemu-img", "create", "-q", "-f", "qcow2", images_folder / "idle.qcow2", "64M")
    cloud.add("images", {"name": "idle", "source": "images/idle.qcow2", "format": "qcow2"})
    for network in NETWORKS:
        cloud.add("networks", network)
    for flavor in FLAVORS:
        cloud.add("flavors", flavor)
    # Hosts lose power some thirty times here; 9 seconds of silence in place of 20 tell it as well.
    config = cloud.folder / "ansible.cfg"
    quick, shipped = "ServerAliveInterval=3 -o ServerAliveCountMax=3", "ServerAliveInterval=5 -o ServerAliveCountMax=4"
    assert shipped in config.read_text()
    config.write_text(config.read_text().replace(shipped, quick))
