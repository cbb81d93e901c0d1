# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to peers: a real libvirtd, and ports that nobody serves."""

import shutil
import socket

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.peer_check import check_peers

pytestmark = pytest.mark.skipif(shutil.which("virsh") is None, reason="needs virsh")


@pytest.fixture
def silent_port():
    """Returns a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_peer_that_answers_is_known_by_its_uuid(libvirt_uri):
    (first,) = check_peers([{"name": "h2", "uri": libvirt_uri}], 20)
    assert (first["ok"], first["message"]) == (True, None)
    again = {"name": "h2", "uri": libvirt_uri, "host_uuid": first["uuid"].replace("-", "")}
    assert check_peers([again], 20)[0]["ok"]
    (stranger,) = check_peers([{**again, "host_uuid": "0" * 32}], 20)
    assert not stranger["ok"]
    assert f"host with UUID {first['uuid']}" in stranger["message"]


def test_every_peer_is_tried_and_told_in_order(silent_port, libvirt_uri):
    peers = [
        {"name": "gone", "uri": "qemu+tcp://127.0.0.1:1/system"},
        {"name": "silent", "uri": f"qemu+tcp://127.0.0.1:{silent_port}/system"},
        {"name": "fine", "uri": libvirt_uri},
    ]
    results = check_peers(peers, 5)
    assert [(each["name"], each["ok"]) for each in results] == [("gone", False), ("silent", False), ("fine", True)]
    assert "refused" in results[0]["message"]
    assert results[1]["message"] == "no answer within 5 s"


def test_a_peer_that_lets_strangers_in_is_not_fine(tmp_path, libvirt_uri):
    """A local socket asks nobody for a certificate."""
    (tmp_path / "cacert.pem").write_text("a CA")
    peer = {"name": "h2", "uri": libvirt_uri, "outsider": str(tmp_path / "cacert.pem")}
    (result,) = check_peers([peer], 20)
    assert (result["ok"], result["message"]) == (False, "it lets in a client without a certificate")
