# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's NoCloud seed and its SSH host key, whose private half is in the seed and nowhere else."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, Mapping, Optional

from ansible_collections.berth.kvm.plugins.module_utils import guest_tool, iso9660
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_files import fresh_part

VOLUME_ID = "cidata"
VENDOR_DATA = "vendor-data"
VENDOR_DATA_MAX_BYTES = 64 * 1024
KEY_FILE = "hostkey"
_PLAIN_KEY = re.compile(r"[a-z][a-z0-9_]*\Z")
_PUBLIC_KEY = re.compile(r"^  ed25519_public: (ssh-ed25519 [A-Za-z0-9+/=]+(?: \S+)?)$", re.MULTILINE)


def make_seed(seed: Mapping[str, Any], owner: str) -> str:
    """Makes the seed, 0600, with a new host key in it; returns the public half. Raises GuestFailure."""
    path = seed["path"]
    private, public = _new_key(os.path.join(os.path.dirname(path), KEY_FILE), owner)
    texts = {
        "meta-data": seed["meta_data"],
        "user-data": seed["user_data"],
        "network-config": seed["network_config"],
        VENDOR_DATA: vendor_text(seed.get("vendor_data") or {}, private, public),
    }
    content = iso9660.image(VOLUME_ID, {name: text.encode("utf-8") for name, text in texts.items()})
    part = fresh_part(path)
    with open(part, "wb") as file:
        file.write(content)
    os.rename(part, path)
    return public


def read_public_key(path: str) -> Optional[str]:
    """Returns the public host key of an existing seed, None when it has none or is not ours."""
    try:
        with open(path, "rb") as file:
            text = iso9660.read_file(file, VENDOR_DATA, VENDOR_DATA_MAX_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return None
    found = _PUBLIC_KEY.search(text)
    return found.group(1) if found else None


def vendor_text(vendor_data: Mapping[str, Any], private: str, public: str) -> str:
    """Returns vendor-data: one `key: JSON` per line, which is YAML, and the keys as a block that a shell can read."""
    lines = ["#cloud-config"]
    lines += [f"{_yaml_key(key)}: {json.dumps(value)}" for key, value in sorted(vendor_data.items())]
    lines += ["ssh_keys:", "  ed25519_private: |"]
    lines += ["    " + line for line in private.splitlines()]
    lines += [f"  ed25519_public: {public}", ""]
    return "\n".join(lines)


def _yaml_key(key: str) -> str:
    return key if _PLAIN_KEY.match(key) else json.dumps(key)


def _new_key(path: str, owner: str) -> "tuple[str, str]":
    """Returns (private, public) of a new ed25519 key. Its files are gone when this returns."""
    names: Dict[str, str] = {"private": path, "public": path + ".pub"}
    try:
        for name in names.values():
            if os.path.lexists(name):
                os.unlink(name)
        guest_tool.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", owner, "-f", path], "ssh_keygen")
        texts = {}
        for which, name in names.items():
            with open(name, encoding="ascii") as file:
                texts[which] = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GuestFailure("ssh_keygen", f"the SSH host key cannot be made: {error}") from error
    finally:
        for name in names.values():
            if os.path.lexists(name):
                os.unlink(name)
    return texts["private"], texts["public"]
