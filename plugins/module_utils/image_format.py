# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk image really is, read from its bytes before any qemu tool opens it.

Works on any seekable binary file, reads a bounded number of bytes of it, and raises nothing but ImageRefused (and what
the file itself raises on a read error). Formats are recognised by the signatures that QEMU's own block drivers probe
for; qcow2's header is judged by image_qcow2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, List, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import ImageRefused
from ansible_collections.berth.kvm.plugins.module_utils.image_qcow2 import (
    read_at,
    read_header,
    refusals,
)

GIB = 1024**3
SECTOR_BYTES = 512
HEAD_BYTES = 2048
FORMATS = ("qcow2", "raw")

# (offset, bytes, format). A negative offset counts from the end of the file: fixed VHDs and DMGs have only a footer.
SIGNATURES: Tuple[Tuple[int, bytes, str], ...] = (
    (0, b"QFI\xfb\x00\x00\x00\x01", "qcow"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\x00", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"cxsparse", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
    (0x8001, b"CD001", "iso9660"),
    (0x8001, b"BEA01", "udf"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (0x101, b"ustar", "tar"),
    (-SECTOR_BYTES, b"conectix", "vhd"),
    (-SECTOR_BYTES, b"koly", "dmg"),
)
ADVICE = {
    **dict.fromkeys(("gzip", "xz", "zstd", "bzip2", "zip", "tar"), "unpack it and use the image that is inside"),
    "html": "the server sent a page in place of the image; check the address",
    "iso9660": "installation media cannot be the disk of a guest",
}
CONVERT = "convert it with `qemu-img convert -O qcow2` on a machine where you trust it"


@dataclass(frozen=True)
class ImageFacts:
    """What an accepted image is. `content` says what a raw image begins with: gpt, mbr or data; of qcow2 it is ''."""

    format: str
    virtual_size_bytes: int
    size_bytes: int
    content: str = ""


def inspect(image: BinaryIO, *, declared: str, max_virtual_size_bytes: int) -> ImageFacts:
    """Returns the facts of an image that is what it was declared to be and is safe to open.

    Raises ImageRefused with every finding: another format than `declared` (`qcow2` or `raw`), two formats at once,
    anything in a qcow2 header that leads out of the file or cannot be checked, a virtual size of 0 or above the limit.
    """
    size_bytes = image.seek(0, 2)
    if size_bytes == 0:
        raise ImageRefused(("empty", "the image has 0 bytes"))
    found = formats_of(image, size_bytes)
    _refuse_other_formats(found, declared)
    if declared == "raw":
        return _inspect_raw(image, size_bytes, max_virtual_size_bytes)
    header = read_header(image, size_bytes)
    findings = list(refusals(header, image, size_bytes))
    findings += _size_findings(header.virtual_size_bytes, max_virtual_size_bytes)
    if findings:
        raise ImageRefused(*findings)
    return ImageFacts("qcow2", header.virtual_size_bytes, size_bytes)


def formats_of(image: BinaryIO, size_bytes: int) -> Tuple[str, ...]:
    """Returns every format whose signature the file carries, the most telling first; nothing for raw data."""
    found: List[str] = []
    for offset, signature, name in SIGNATURES:
        start = offset if offset >= 0 else size_bytes + offset
        # The end of a file that has a signature at its front is its payload, and says nothing about the file.
        if (offset < 0 and found) or start < 0:
            continue
        if read_at(image, start, len(signature)) == signature:
            found.append(name)
    if "qcow" in found:
        found.remove("qcow2")
    head = read_at(image, 0, HEAD_BYTES)
    if _is_vmdk_descriptor(head):
        found.append("vmdk")
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        found.append("html")
    return tuple(dict.fromkeys(found))


def _is_vmdk_descriptor(head: bytes) -> bool:
    """Tells whether the text is what QEMU's probe takes for a VMDK: comments and blank lines, then `version=`."""
    if not head.startswith(b"#"):
        return False
    if head.startswith(b"# Disk DescriptorFile"):
        return True
    for line in head.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"#") or not line.strip(b" "):
            continue
        return line.startswith(b"version=")
    return False


def _refuse_other_formats(found: Tuple[str, ...], declared: str) -> None:
    others = [name for name in found if name != declared]
    if declared in found and others:
        raise ImageRefused(
            ("ambiguous", f"the file is {declared} and {' and '.join(others)} at once; allowed is one format")
        )
    if others:
        advice = ADVICE.get(others[0], CONVERT)
        if others[0] in FORMATS:
            advice = f"declare `format: {others[0]}` if that is what you meant"
        raise ImageRefused(("format", f"declared as {declared}, found {others[0]}; {advice}"))
    if declared not in found and declared != "raw":
        raise ImageRefused(
            ("format", f"declared as {declared}, found raw data or a format that is not known; {CONVERT}")
        )


def _inspect_raw(image: BinaryIO, size_bytes: int, max_virtual_size_bytes: int) -> ImageFacts:
    # QEMU's raw driver counts in sectors: a file that ends within one is read as if filled up with zeros.
    virtual_size_bytes = -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES
    findings = _size_findings(virtual_size_bytes, max_virtual_size_bytes)
    if findings:
        raise ImageRefused(*findings)
    content = "data"
    if read_at(image, 510, 2) == b"\x55\xaa":
        content = "mbr"
    if b"EFI PART" in (read_at(image, 512, 8), read_at(image, 4096, 8)):
        content = "gpt"
    return ImageFacts("raw", virtual_size_bytes, size_bytes, content)


def _size_findings(virtual_size_bytes: int, allowed_bytes: int) -> List[Tuple[str, str]]:
    if 0 < virtual_size_bytes <= allowed_bytes:
        return []
    return [
        (
            "virtual_size",
            f"virtual size {virtual_size_bytes} bytes; allowed are 1 to {allowed_bytes} bytes "
            f"({allowed_bytes / GIB:g} GiB): if you trust the image, raise max_virtual_size_gib",
        )
    ]
