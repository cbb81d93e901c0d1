# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn

NO_SOCKET = "qemu+unix:///system?socket=/nonexistent/socket"
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(autouse=True)
def quiet():
    libvirt.registerErrorHandler(lambda _context, _error: None, None)


def test_a_connection():
    connection = libvirt_conn.open_connection("test:///default", 1)
    assert connection.getType() == "TEST"
    connection.close()


def test_a_missing_daemon_is_waited_for_and_told(monkeypatch):
    monkeypatch.setattr(libvirt_conn, "NO_SOCKET_TIMEOUT_S", 0.5)
    begin = time.monotonic()
    with pytest.raises(libvirt.libvirtError) as caught:
        libvirt_conn.open_connection(NO_SOCKET, 10)
    assert 0.4 < time.monotonic() - begin < 5
    assert "(libvirt error 38)" in libvirt_conn.describe(caught.value)
    assert "/nonexistent/socket" in libvirt_conn.describe(caught.value)


class Refusal(Exception):
    """Stands for a libvirtError of a daemon that this user may not use."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

    def get_error_code(self):
        return self.code


@pytest.mark.parametrize(
    ("code", "text", "advised"),
    [
        (38, "Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied", True),
        (79, "authentication unavailable: no polkit agent available to authenticate action", True),
        (45, "authentication failed: access denied by policy", True),
        (38, "Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory", False),
        (38, "Cannot access storage file '/x': Permission denied", False),
    ],
)
def test_a_user_who_may_not_use_libvirt_is_told_to_become_root(code, text, advised):
    said = libvirt_conn.describe_unusable(Refusal(code, text))
    assert ("ansible_become: true" in said, "its daemon runs" in said) == (advised, not advised)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_closed_socket_is_told_as_such():
    folder = Path(tempfile.mkdtemp(prefix="berth-", dir="/tmp"))
    code = f"""
import os, libvirt
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
os.setgid(65534), os.setuid(65534)
try:
    libvirt.open('qemu+unix:///system?socket={folder}/socket')
except libvirt.libvirtError as error:
    print(libvirt_conn.describe(error))
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    finally:
        folder.rmdir()
    assert "Permission denied" in done.stdout and "ansible_become: true" in done.stdout


def test_an_error_that_no_waiting_cures_comes_at_once():
    begin = time.monotonic()
    with pytest.raises(libvirt.libvirtError):
        libvirt_conn.open_connection("test:///nonexistent.xml", 10)
    assert time.monotonic() - begin < 5


def test_a_link_survives_a_restart_of_the_daemon(private_libvirtd):
    with libvirt_conn.Link(private_libvirtd.uri) as link:
        assert link.run(lambda connection: connection.getType()) == "QEMU"
        private_libvirtd.restart_daemon()
        assert link.run(lambda connection: connection.getHostname())


def test_a_link_waits_for_a_daemon_that_is_gone_for_a_moment(private_libvirtd):
    link = libvirt_conn.Link(private_libvirtd.uri)
    link.run(lambda connection: connection.getType())
    restart = threading.Thread(target=private_libvirtd.restart_daemon)
    restart.start()
    deadline = time.monotonic() + 3
    answers = 0
    while time.monotonic() < deadline and (restart.is_alive() or answers == 0):
        answers += bool(link.run(lambda connection: connection.getHostname()))
    restart.join()
    link.close()
    assert answers > 0


def test_other_errors_are_not_repeated():
    calls = []

    def look(connection):
        calls.append(1)
        connection.lookupByName("nobody")

    with libvirt_conn.Link("test:///default") as link, pytest.raises(libvirt.libvirtError) as caught:
        link.run(look)
    assert (len(calls), caught.value.get_error_code()) == (1, libvirt.VIR_ERR_NO_DOMAIN)


RUN = """
import sys
if {hidden!r}: sys.modules['libvirt'] = None
import json
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE = 'legacy'
basic._ANSIBLE_ARGS = json.dumps({{'ANSIBLE_MODULE_ARGS': {{}}}}).encode()
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible.module_utils.common import respawn
if {hidden!r}: respawn.probe_interpreters_for_module = libvirt_conn.probe_interpreters_for_module = lambda *_: None
module = basic.AnsibleModule(argument_spec={{}})
connection = libvirt_conn.connect(module, {uri!r}, 0.1)
kind = connection.getType()
connection.close()
module.exit_json(type=kind)
"""
CONNECTS = {
    "there": (False, "test:///default", lambda answer: answer["type"] == "TEST"),
    "no binding": (True, "test:///default", lambda answer: "python3-libvirt" in answer["msg"]),
    "no daemon": (False, NO_SOCKET, lambda answer: answer["libvirt_error_code"] == 38 and NO_SOCKET in answer["msg"]),
}


@pytest.mark.parametrize(("hidden", "uri", "holds"), CONNECTS.values(), ids=CONNECTS)
def test_connect_in_a_module(hidden, uri, holds):
    code = RUN.format(hidden=hidden, uri=uri)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    answer = json.loads(done.stdout)
    assert holds(answer), answer
    assert done.stderr == ""


def can_respawn():
    if not Path(SYSTEM_PYTHON).exists():
        return False
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import libvirt"], capture_output=True, timeout=30, check=False)
    return probe.returncode == 0


@pytest.mark.skipif(not can_respawn(), reason=f"{SYSTEM_PYTHON} has no libvirt")
def test_the_module_goes_on_under_an_interpreter_that_has_the_binding(tmp_path):
    """Through Ansible, with a virtual environment that lacks the binding as the host's interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True, timeout=60)
    arguments = json.dumps({"uri": "test:///default", "state": "running"})
    ansible = Path(sys.executable).with_name("ansible")
    interpreter = tmp_path / "bare/bin/python"
    assert subprocess.run([str(interpreter), "-c", "import libvirt"], capture_output=True, check=False).returncode == 1
    done = subprocess.run(
        [str(ansible), "localhost", "-m", "berth.kvm.guest", "-a", arguments,
         "-e", f"ansible_python_interpreter={interpreter}", "-e", "ansible_connection=local"],
        capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}, cwd=tmp_path,
    )  # fmt: skip
    assert "SUCCESS" in done.stdout, done.stdout + done.stderr
