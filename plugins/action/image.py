# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries images of the controller to hosts that lack them; everything else is the module's.

The host is asked first: when it has the images, one module call is all. Otherwise the missing files follow, and a
second call takes them over.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.berth.kvm.plugins.module_utils.image_url import has_scheme

from berth.errors import BerthError
from berth.verbs.journal import write_intent

MODULE = "berth.kvm.image"
CHUNK_BYTES = 1024 * 1024


class ActionModule(ActionBase):
    """The controller's half of berth.kvm.image."""

    # What has to travel makes its own folder on the host; without, none is made, and a killed run leaves none there.
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        images, journal = arguments.get("images"), arguments.pop("journal", None)
        try:
            if not self._task.check_mode:
                write_intent(journal, "image", (task_vars or {})["inventory_hostname"])
        except BerthError as error:
            raise AnsibleActionFail(error.message) from error
        # What is malformed goes to the module as it is: its argument spec has the better words.
        if arguments.get("state", "present") == "present" and isinstance(images, list):
            arguments["images"] = [self._prepared(image) if _is_carried(image) else image for image in images]
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        missing = [item for item in result.get("images", []) if item.get("reason") == "needs_upload"]
        if missing:
            self._upload(arguments, result, task_vars)
        return result

    def _prepared(self, image: dict[str, Any]) -> dict[str, Any]:
        """Returns the image with what only the controller knows: absolute path, size and digest of the file."""
        path = Path(self._loader.path_dwim(image["source"]))
        if not path.is_file():
            raise AnsibleActionFail(
                f"image {image.get('name')}: {path} is no file on the controller; "
                "allowed are a path on the controller and http://, https:// and file:/// URLs"
            )
        try:
            if self._connection.transport == "local":
                # The host is this machine: nothing has to travel.
                return {**image, "source": path.as_uri()}
            digest = image.get("digest") or ("" if image.get("sums") else _sha256(path))
        except OSError as error:
            raise AnsibleActionFail(f"image {image.get('name')}: {path}: {error.strerror}") from error
        return {**image, "source": str(path), "size_bytes": path.stat().st_size, "digest": digest}

    def _upload(self, arguments: dict[str, Any], result: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
        """Carries over what the module missed, calls it again for that, and puts the new items into the result."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        indexes = [index for index, item in enumerate(result["images"]) if item.get("reason") == "needs_upload"]
        again = []
        for index in indexes:
            image = arguments["images"][index]
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, f"image-{index}")
            self._transfer_file(image["source"], remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote), execute=False)
            again.append({**image, "upload": remote})
        second = self._execute_module(
            module_name=MODULE, module_args={**arguments, "images": again}, task_vars=task_vars
        )
        if len(second.get("images", [])) != len(again):
            result.update(second)
            return
        for index, item in zip(indexes, second["images"], strict=True):
            result["images"][index] = item
        messages = [item["message"] for item in result["images"] if not item["ok"]]
        result["changed"] = any(item["changed"] for item in result["images"])
        result["diff"] = [*result.get("diff", []), *second.get("diff", [])]
        result["failed"] = bool(messages)
        result["msg"] = "\n".join(messages)


def _is_carried(image: Any) -> bool:
    source = image.get("source") if isinstance(image, dict) else None
    return isinstance(source, str) and bool(source) and not has_scheme(source)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return f"sha256:{digest.hexdigest()}"
