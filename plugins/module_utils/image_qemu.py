# SPDX-License-Identifier: GPL-3.0-or-later
"""qemu-img's own view of an image that our parser has accepted: always with the format named, always under limits."""

from __future__ import annotations

import json
import resource
import subprocess
from typing import Any, Dict, List

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import HOST, ImageFailure, ImageRefused
from ansible_collections.berth.kvm.plugins.module_utils.image_format import ImageFacts

ADDRESS_SPACE_BYTES = 1024**3
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
CPU_S = 60
WALL_S = 600
# qemu-img(1), "check": 0 sound, 2 corrupt, 3 leaked clusters, which only waste space.
SOUND = (0, 3)


def verify(path: str, facts: ImageFacts) -> None:
    """Returns when qemu-img sees in the file what our parser saw, and finds no corruption.

    Raises ImageRefused when it does not, ImageFailure when the host has no qemu-img. A check that runs into a limit
    refuses the image: sound ones stay far below (100 GiB fully mapped: 0.1 s of CPU, with 4 KiB clusters 5 s).
    """
    info = _qemu_img("info", path, facts)
    seen = {
        "format": info.get("format"),
        "virtual size": info.get("virtual-size"),
        "backing file": info.get("backing-filename"),
        "data file": info.get("format-specific", {}).get("data", {}).get("data-file"),
        "encrypted": bool(info.get("encrypted")),
    }
    expected = {
        "format": facts.format,
        "virtual size": facts.virtual_size_bytes,
        "backing file": None,
        "data file": None,
        "encrypted": False,
    }
    differing = [f"{name}: qemu-img says {seen[name]!r}, the header {expected[name]!r}" for name in seen
                 if seen[name] != expected[name]]  # fmt: skip
    if differing:
        raise ImageRefused(("qemu_disagrees", "; ".join(differing)))
    if facts.format == "qcow2":
        _qemu_img("check", path, facts)


def _qemu_img(verb: str, path: str, facts: ImageFacts) -> Dict[str, Any]:
    command = ["qemu-img", verb, "-f", facts.format, "--output=json", path]
    completed = _run(command)
    if completed.returncode in SOUND:
        try:
            return dict(json.loads(completed.stdout))
        except ValueError as error:
            raise ImageFailure(HOST, "qemu_img", f"{' '.join(command)}: unreadable answer: {error}") from error
    if completed.returncode < 0:
        raise ImageRefused(
            ("qemu_limit", f"qemu-img {verb} was ended by signal {-completed.returncode} within {CPU_S} s of CPU time")
        )
    said = completed.stderr.decode("utf-8", "replace").strip().replace(path, "image")
    found = "; ".join(_corruptions(completed.stdout)) or said or f"exit code {completed.returncode}"
    raise ImageRefused((f"qemu_{verb}", f"qemu-img {verb} finds it damaged: {found[:500]}"))


def _run(command: List[str]) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WALL_S,
            check=False,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            preexec_fn=_limit,
        )
    except FileNotFoundError as error:
        raise ImageFailure(
            HOST, "no_qemu_img", "the host has no qemu-img; prepare the host (package qemu-utils or qemu-img)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageRefused(("qemu_limit", f"{' '.join(command[:2])} took more than {WALL_S} s")) from error


def _limit() -> None:
    """Runs in the child: no more memory, CPU or core dump than a sound image needs, and not a byte written."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _corruptions(output: bytes) -> List[str]:
    try:
        report = json.loads(output)
    except ValueError:
        return []
    return [f"{report[name]} {name}" for name in ("corruptions", "check-errors") if report.get(name)]
