# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest images for tests, built from Debian packages by tests/lab/images and cached by what they were built from."""

import hashlib
import os
import shutil
from pathlib import Path

from lab import aptproxy
from lab.shell import LabError, locked, run, say

BUILDERS = Path(__file__).parents[1] / "images"
KINDS = {
    "tiny": ("build-tiny.sh",),
    "debian-12": ("build-debian.sh",),
    "debian-12-libvirt": ("build-debian.sh", "libvirt"),
}
SUITE = "bookworm"


def ensure(kind: str, base: Path, out: Path | None = None) -> Path:
    """Path of the image, built unless it is cached; with `out` a copy there, and its path.

    Any change of a file in tests/lab/images makes a new image.
    """
    cached = base / "images" / f"{kind}-{_key(kind)}.qcow2"
    with locked(base / "images" / f"{kind}.lock"):
        if not cached.exists():
            say(f"building image {kind} (once)")
            _build(kind, base, cached)
    if out is None:
        return cached
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    shutil.copyfile(cached, part)
    return part.rename(out)


def _key(kind: str) -> str:
    digest = hashlib.sha256(repr((kind, KINDS[kind], SUITE)).encode())
    for file in sorted(file for file in BUILDERS.rglob("*") if file.is_file() and file.suffix != ".pyc"):
        digest.update(str(file.relative_to(BUILDERS)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _build(kind: str, base: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    script, *arguments = KINDS[kind]
    # The archive's own tools refuse user ids that only root can give; an ordinary user gets them by a user namespace.
    mode = "root" if os.geteuid() == 0 else "unshare"
    if not (BUILDERS / script).exists():
        raise LabError(f"no builder {script}")
    with aptproxy.serving(base / "debs") as archive:
        environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": os.environ.get("HOME", "/"),
            "TMPDIR": str(base / "images"),
            "SUITE": SUITE,
            "SOURCES": "\n".join(archive.sources(SUITE)),
            "MODE": mode,
            "KERNEL": "linux-image-amd64",
        }
        run(BUILDERS / script, part, *arguments, env=environment)
    part.rename(target)
