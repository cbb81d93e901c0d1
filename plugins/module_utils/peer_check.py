# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens libvirt connections to other hosts, all at once, and tells what came of each.

Each is opened by a `virsh` of its own: libvirt's client has no time limit for a connection attempt, a process has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Tuple
from xml.etree import ElementTree

AT_ONCE = 16


def check_peers(peers: List[Dict[str, Any]], timeout_s: float) -> List[Dict[str, Any]]:
    """Returns, for each peer in order, its name, uri, ok, uuid and message.

    A peer is fine when the connection opens and, where `host_uuid` is given, when it leads to the host of that UUID.
    With `outsider` (a CA file) it is then tried with that CA alone and no certificate, and must be turned away.
    """
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(lambda peer: _check(peer, timeout_s), peers))


def _check(peer: Dict[str, Any], timeout_s: float) -> Dict[str, Any]:
    uuid, message = _host_uuid(peer["uri"], timeout_s)
    expected = peer.get("host_uuid")
    if uuid and expected and uuid.replace("-", "") != expected.replace("-", ""):
        message = f"it leads to the host with UUID {uuid}, expected is {expected}"
    if not message and peer.get("outsider"):
        message = _outsider(peer, timeout_s)
    return {"name": peer["name"], "uri": peer["uri"], "ok": not message, "uuid": uuid, "message": message}


def _outsider(peer: Dict[str, Any], timeout_s: float) -> Optional[str]:
    """Returns what is wrong when somebody without a certificate is let in. The peer was just reached with one."""
    folder = tempfile.mkdtemp(prefix="berth-outsider-")
    try:
        # The CA is there, so what refuses can only be the other side, for the missing client certificate.
        shutil.copyfile(peer["outsider"], os.path.join(folder, "cacert.pem"))
        separator = "&" if "?" in peer["uri"] else "?"
        uuid, _message = _host_uuid(f"{peer['uri']}{separator}pkipath={folder}", timeout_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "it lets in a client without a certificate" if uuid else None


def _host_uuid(uri: str, timeout_s: float) -> Tuple[Optional[str], Optional[str]]:
    """Returns the host's UUID as its libvirt says it, or what went wrong."""
    argv = ["virsh", "--quiet", "--connect", uri, "capabilities"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, the URI is one argument
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {timeout_s:g} s"
    except OSError as error:
        return None, f"virsh cannot be started: {error}"
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return None, "; ".join(lines) or f"virsh ended with status {done.returncode}"
    uuid = ElementTree.fromstring(done.stdout).findtext("host/uuid")  # noqa: S314 - libvirt's own XML
    return uuid, None if uuid else "its capabilities have no host UUID"
