# SPDX-License-Identifier: GPL-3.0-or-later
"""berth.kvm.host_facts as a process of its own, against a real QEMU driver and libvirt's test driver."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import libvirt
import pytest
import yaml

MODULE = "ansible_collections.berth.kvm.plugins.modules.host_facts"
DATA = Path(__file__).parents[4] / "docs" / "data.md"
DOMAIN = """<domain type='qemu'><name>web-1</name><uuid>4b1d0000-0000-4000-8000-000000000001</uuid>
<metadata><berth:guest xmlns:berth='urn:berth:guest:1' uuid='x'>{"version": 1}</berth:guest></metadata>
<memory unit='MiB'>64</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"""


def run(folder: Path, **options: Any) -> dict[str, Any]:
    given = {"instances_path": str(folder), "images_path": str(folder), "probe_kvm": "skip", **options}
    arguments = folder / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def documented() -> dict[str, Any]:
    """Returns the sample of docs/data.md, section 1."""
    block = DATA.read_text().split("## 1.")[1].split("```yaml\n")[1].split("```")[0]
    sample: dict[str, Any] = yaml.safe_load(block.replace("{...}", "{}"))
    return sample


def keys(facts: Any) -> Any:
    """Returns the shape: the keys of every map, lists by their first element."""
    if isinstance(facts, dict):
        return {key: keys(value) for key, value in facts.items()}
    return None


def test_the_shape_is_the_documented_one(tmp_path: Path, libvirt_uri: str) -> None:
    connection = libvirt.open(libvirt_uri)
    domain = connection.defineXML(DOMAIN)
    try:
        result = run(tmp_path, uri=libvirt_uri, controller_time=time.time(), migration_address="10.0.0.1")
    finally:
        domain.undefine()
        connection.close()
    host, sample = result["host"], documented()
    assert result["ansible_facts"] == {"berth_host": host} and result["changed"] is False
    for machine in (host, sample):
        machine.pop("machines")  # its keys are names
    assert keys(host) == keys(sample)
    for part in ("numa_cells", "domains", "networks", "pools"):
        for found in host[part]:
            assert set(found) == set(sample[part][0]), part
    ours = next(each for each in host["domains"] if each["name"] == "web-1")
    assert (ours["vcpus"], ours["memory_mib"], ours["state"]) == (2, 64, "shutdown")
    assert ours["record"] == {"version": 1}
    assert (
        host["migration"] == {"address": "10.0.0.1", "transport": None, "certificate_not_after": None}
        or host["migration"]["certificate_not_after"]
    )
    assert host["daemon"]["flavor"] == "private" and abs(host["clock_offset_s"]) < 30


def test_a_driver_that_can_little_still_gives_facts(tmp_path: Path) -> None:
    host = run(tmp_path, uri="test:///default")["host"]
    assert host["clock_offset_s"] is None and host["virtualization"]["domain_type"] == "qemu"
    assert [domain["name"] for domain in host["domains"]] == ["test"]


@pytest.mark.parametrize("uri", ["qemu+unix:///system?socket=/nowhere/libvirt-sock"])
def test_a_host_without_a_daemon_fails_with_libvirts_words(tmp_path: Path, uri: str) -> None:
    result = run(tmp_path, uri=uri)
    assert result["failed"] and uri in result["msg"] and "/nowhere/libvirt-sock" in result["msg"]
