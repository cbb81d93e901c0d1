# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest images for tests, built from Debian packages by tests/lab/images and cached by what they were built from."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import aptproxy, archive
from lab.shell import locked, run, say

BUILDERS = Path(__file__).parents[1] / "images"


@dataclass(frozen=True)
class Kind:
    """How an image is built: a command of tests/lab/images and the files that decide what comes out."""

    command: tuple[str, ...]
    inputs: tuple[str, ...]
    distributions: tuple[str, ...] = ("Debian",)


KINDS = {
    "tiny": Kind(("build-tiny.sh",), ("build-tiny.sh", "mkdisk.sh", "tiny/*"), ("Debian", "Ubuntu")),
    "debian-12": Kind(("build-debian.sh",), ("*-debian.sh", "mkdisk.sh")),
    "debian-12-libvirt": Kind(("build-debian.sh", "libvirt"), ("*-debian.sh", "mkdisk.sh")),
}


def ensure(kind: str, base: Path, out: Path | None = None) -> Path:
    """Path of the image, built unless it is cached; with `out` a copy there, and its path."""
    its, source = KINDS[kind], archive.of_this_machine(*KINDS[kind].distributions)
    cached = base / "images" / f"{kind}-{_key(its, source.suite)}.qcow2"
    with locked(base / "images" / f"{kind}.lock"):
        if not cached.exists():
            say(f"building image {kind} (once)")
            _build(its, source, base, cached)
    if out is None:
        return cached
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    shutil.copyfile(cached, part)
    return part.rename(out)


def _key(kind: Kind, suite: str) -> str:
    digest = hashlib.sha256(repr((kind.command, suite)).encode())
    for file in _inputs(kind):
        digest.update(str(file.relative_to(BUILDERS)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _inputs(kind: Kind) -> Iterator[Path]:
    for pattern in kind.inputs:
        yield from sorted(BUILDERS.glob(pattern))


def _build(kind: Kind, source: archive.Archive, base: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    script, *arguments = kind.command
    with aptproxy.serving(source, base / "debs") as served:
        environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": os.environ.get("HOME", "/"),
            "TMPDIR": str(base / "images"),
            "SUITE": source.suite,
            "KERNEL": source.kernel,
            "SOURCES": "\n".join(served.sources(source.suite)),
            "GUEST_SOURCES": "\n".join(source.sources(source.suite)),
            # mmdebstrap gives files to several users, which takes root or a user namespace.
            "MODE": "root" if os.geteuid() == 0 else "unshare",
        }
        run(BUILDERS / script, part, *arguments, env=environment)
    part.rename(target)
