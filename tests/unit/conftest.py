# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests of several parts share: a real libvirt that is nobody else's, and a host for guests on it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import libvirt
import pytest

from berth.domain import HostView, ImageOnHost, guest_definition

LAUNCHER = Path(__file__).parents[2] / "demo" / "private_libvirtd.py"
MODULE = "ansible_collections.berth.kvm.plugins.modules.guest"
RUN = f"import runpy, sys; sys.argv = ['guest', sys.argv[1]]; runpy.run_module({MODULE!r}, run_name='__main__')"
IMAGE_MIB = 64
RUN_TIMEOUT_S = 120


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


class GuestHost:
    """A folder with instances and images on the private libvirtd, and the module run on it."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        self.instances, self.consoles = folder / "instances", folder / "consoles"
        images = folder / "images"
        for path in (self.instances, self.consoles, images):
            path.mkdir(mode=0o711)
        path = images / "sha256-00.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{IMAGE_MIB}M"], check=True, timeout=30)
        self.image = ImageOnHost(str(path), "qcow2", "sha256:00", IMAGE_MIB * 1024 * 1024)

    def plan(self, name="web-1", **differs):
        identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.folder}/{name}"))
        mac = "52:54:00:" + ":".join(identity[start : start + 2] for start in (0, 2, 4))
        network = {
            "network": "slirp", "kind": "user", "source": "slirp", "mac": mac, "address": "10.0.2.15", "prefix": 24,
            "gateway": "10.0.2.2", "dns": ["10.0.2.3"], "mtu": None, "assignment": "static", "ssh_port": None,
        }  # fmt: skip
        return {
            "uuid": identity, "name": name, "domain_name": name, "project": "default", "flavor": "tiny",
            "image": "empty", "vcpus": 1, "memory_mib": 32, "disk_gib": 1, "domain_type": "qemu", "machine": "pc",
            "firmware": "bios", "architecture": "x86_64", "cpu_mode": "host-model", "properties": {},
            "networks": [network], "login_user": "root", "public_keys": [], "user_data": None,
            "on_host_boot": "leave", "metadata": {}, "created_at": 1.0, "cloud": "test", "request_id": "req-1",
            "instance_dir": str(self.instances / identity), "console_log": str(self.consoles / f"{identity}.log"),
            "limits": {}, **differs,
        }  # fmt: skip

    def definition(self, name="web-1", **differs):
        return guest_definition(self.plan(name, **differs), image=self.image, host=HostView())

    def start_module(self, state, guests, *, failpoint="", **options):
        arguments = {
            "guests": guests, "state": state, "uri": self.uri, "instances_path": str(self.instances),
            "graceful_timeout_s": 1, **options,
        }  # fmt: skip
        path = self.folder / f"arguments-{uuid.uuid4()}.json"
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), encoding="utf-8")
        environment = {**os.environ, "BERTH_FAILPOINT": failpoint, "BERTH_FAILPOINT_FILE": str(self.folder / "reached")}
        code = f"from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; {RUN}"
        return subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(self, state, *guests, **options):
        out, err = self.start_module(state, list(guests), **options).communicate(timeout=RUN_TIMEOUT_S)
        try:
            answer = json.loads(out)
        except ValueError:
            raise AssertionError(f"the module did not answer: {out}{err}") from None
        assert "exception" not in answer, answer
        answer.pop("invocation", None)
        return answer

    def kill_at(self, failpoint, state, *guests):
        """Runs the module until the failpoint and kills it there with signal 9."""
        reached = self.folder / "reached"
        reached.unlink(missing_ok=True)
        process = self.start_module(state, list(guests), failpoint=failpoint)
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not reached.exists() or reached.read_text() != failpoint:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{failpoint} was never reached"
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=30)

    def connection(self):
        return libvirt.open(self.uri)

    def domains(self):
        """Returns name -> (state, uuid) of everything that libvirt knows."""
        with_connection = self.connection()
        try:
            found = with_connection.listAllDomains(0)
            return {domain.name(): (domain.state()[0], domain.UUIDString()) for domain in found}
        finally:
            with_connection.close()

    def files(self):
        """Returns everything that is there of guests: paths below instances and consoles."""
        found = [*self.instances.rglob("*"), *self.consoles.rglob("*")]
        return sorted(str(path.relative_to(self.folder)) for path in found if ".locks" not in path.parts)

    def clear(self):
        connection = self.connection()
        for domain in connection.listAllDomains(0):
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        connection.close()


@pytest.fixture
def guest_host(private_libvirtd):
    # Not tmp_path: QEMU's user cannot get into pytest's folders.
    folder = private_libvirtd.folder / f"host-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o711)
    host = GuestHost(folder, private_libvirtd.uri)
    yield host
    host.clear()
