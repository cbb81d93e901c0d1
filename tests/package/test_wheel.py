# SPDX-License-Identifier: GPL-3.0-or-later
"""The built wheel in a clean environment: half of the packaging traps are invisible in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    pip = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**keep, **pip, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dist = tmp_path_factory.mktemp("dist")
    # sdist first and the wheel from it: what a package index would serve.
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT, cwd=dist)
    return next(dist.glob("berth-*.whl"))


@pytest.fixture(scope="session")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the bin folder of an environment that has the wheel and nothing of the checkout."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    run(venv / "bin/pip", "install", "--quiet", wheel, cwd=venv.parent)
    return venv / "bin"


def test_wheel_has_package_and_collection_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"berth", "ansible_collections"}
    for needed in ("galaxy.yml", "meta/runtime.yml", "plugins/modules/guest.py", "playbooks/boot.yml"):
        assert f"ansible_collections/berth/kvm/{needed}" in names
    assert "berth/py.typed" in names
    assert any(name.endswith("domain.xml.j2") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_one_install_gives_cli_collection_and_playbooks(clean: Path, tmp_path: Path) -> None:
    cloud = tmp_path / "cloud"
    path = f"{clean}:{os.environ['PATH']}"
    run(clean / "berth", "init", cloud, cwd=tmp_path, PATH=path)
    host = f"""
compute:
  hosts:
    here:
      ansible_connection: local
      ansible_python_interpreter: {clean}/python
      berth_libvirt_uri: test:///default
      berth_instances_path: {tmp_path}/instances
      berth_images_path: {tmp_path}/images
"""
    (cloud / "inventory/hosts.yml").write_text(host)
    (tmp_path / "instances").mkdir()
    (tmp_path / "images").mkdir()
    run(clean / "ansible-playbook", "berth.kvm.host_refresh", cwd=cloud, PATH=path)
    assert '"here"' in run(
        clean / "berth", "--cloud", cloud, "host", "list", "--format", "json", cwd=tmp_path, PATH=path
    )
    assert "BERTH.KVM" in run(clean / "ansible-doc", "berth.kvm.guest", cwd=tmp_path, PATH=path).upper()
    listed = run(clean / "ansible-galaxy", "collection", "list", "berth.kvm", cwd=tmp_path, PATH=path)
    assert "berth.kvm" in listed
