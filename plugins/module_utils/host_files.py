# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the folders of a host: guests' folders, console logs, cached images. Names only, nothing is opened."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List

from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import OWN_FILE, UUID

CONSOLE_LOG = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.log(?:\.[0-9]{1,3})?\Z")
IMAGE = re.compile(r"(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})\.(?:qcow2|raw)\Z")


def files(instances_path: str, consoles_path: str, images_path: str) -> Dict[str, Any]:
    """Returns the part `files` of the facts.

    `instances` are the folders named by a UUID, each with the guest's own files in it (`own`) and the others (`other`);
    `consoles` the UUIDs that have a log, rotated ones included; `images` the cache's files.
    """
    logs = (CONSOLE_LOG.match(name) for name in _names(consoles_path))
    return {
        "instances": [_instance(instances_path, name) for name in _names(instances_path) if UUID.match(name)],
        "consoles": sorted({log.group(1) for log in logs if log}),
        "images": [name for name in _names(images_path) if IMAGE.match(name)],
    }


def _instance(instances_path: str, uuid: str) -> Dict[str, Any]:
    names = _names(os.path.join(instances_path, uuid))
    own = [name for name in names if OWN_FILE.match(name)]
    return {"uuid": uuid, "own": own, "other": [name for name in names if name not in own]}


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
