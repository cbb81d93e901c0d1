# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a qcow2 image: parsed by us, with every field bounded, and judged.

Facts: QEMU, "Qcow2 Image File Format" (docs/interop/qcow2), sections Header, Additional fields and Header extensions;
limits of QEMU's own driver (block/qcow2.h): clusters of 512 bytes to 2 MiB, L1 table up to 32 MiB, refcount table up
to 8 MiB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator, List, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import ImageRefused

Finding = Tuple[str, str]

HEADER_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
HEADER_V3 = struct.Struct(">QQQII")
EXTENSION = struct.Struct(">II")
MAGIC = b"QFI\xfb"
V2_LENGTH = HEADER_V2.size
V3_LENGTH = HEADER_V2.size + HEADER_V3.size
COMPRESSION_OFFSET = 104

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
KNOWN_FEATURES = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2
RAW_DATA_FILE_AUTOCLEAR = 1 << 1
EXTENSION_END = 0
EXTENSION_DATA_FILE = 0x44415441
EXTENSION_ENCRYPTION = 0x0537BE77
EXTENSIONS_MAX = 64

CLUSTER_BITS_MIN, CLUSTER_BITS_MAX = 9, 21
EXTENDED_L2_CLUSTER_BITS_MIN = 14
REFCOUNT_ORDER_MAX = 6
L1_BYTES_MAX = 32 * 1024**2
REFCOUNT_TABLE_BYTES_MAX = 8 * 1024**2
BACKING_NAME_BYTES_MAX = 1023
ENCRYPTION = {1: "AES", 2: "LUKS"}
COMPRESSION_TYPES = {0: "zlib", 1: "zstd"}


@dataclass(frozen=True)
class Qcow2Header:
    """The fields in the order of the file; those that version 2 lacks have the values that it implies."""

    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    virtual_size_bytes: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    header_length: int = V2_LENGTH
    compression_type: int = 0


def read_at(image: BinaryIO, offset: int, length: int) -> bytes:
    """Returns up to `length` bytes from `offset`; fewer, or none, where the file ends."""
    # A header can name an offset that the file system refuses to seek to.
    if offset >= image.seek(0, 2):
        return b""
    image.seek(offset)
    return image.read(length)


def read_header(image: BinaryIO, size_bytes: int) -> Qcow2Header:
    """Returns the header of a qcow2 file. Raises ImageRefused when it is cut off or of an unknown version."""
    data = read_at(image, 0, V3_LENGTH)
    if len(data) < V2_LENGTH:
        raise ImageRefused(("truncated", f"the file has {size_bytes} bytes, a qcow2 header {V2_LENGTH} or more"))
    magic, *fields = HEADER_V2.unpack_from(data)
    if magic != MAGIC or fields[0] not in (2, 3):
        raise ImageRefused(("version", f"qcow2 version {fields[0]}; allowed are 2 and 3"))
    if fields[0] == 2:
        return Qcow2Header(*fields)
    if len(data) < V3_LENGTH:
        raise ImageRefused(("truncated", f"the file has {size_bytes} bytes, a version 3 header {V3_LENGTH} or more"))
    more = HEADER_V3.unpack_from(data, V2_LENGTH)
    compression = read_at(image, COMPRESSION_OFFSET, 1) if more[-1] > COMPRESSION_OFFSET else b""
    fields += [*more, (compression or b"\0")[0]]
    return Qcow2Header(*fields)


def backing_file(image: BinaryIO) -> str:
    """Returns the name of the backing file of a qcow2 file, '' for one without and for a file that is no qcow2."""
    try:
        header = read_header(image, image.seek(0, 2))
    except ImageRefused:
        return ""
    if not header.backing_file_offset:
        return ""
    name = read_at(image, header.backing_file_offset, min(header.backing_file_size, BACKING_NAME_BYTES_MAX))
    return name.decode("utf-8", "surrogateescape")


def refusals(header: Qcow2Header, image: BinaryIO, size_bytes: int) -> Iterator[Finding]:
    """Yields (reason, text) for everything in the header that is not allowed. Nothing means: safe to open."""
    yield from _outside_findings(header, image)
    yield from _state_findings(header)
    if not CLUSTER_BITS_MIN <= header.cluster_bits <= CLUSTER_BITS_MAX:
        # Every check below divides by the cluster size: without a sound one there is nothing more to say.
        yield (
            "cluster_bits",
            f"cluster_bits {header.cluster_bits}; allowed are {CLUSTER_BITS_MIN} to {CLUSTER_BITS_MAX}",
        )
        return
    yield from _layout_findings(header)
    yield from _table_findings(header, size_bytes)
    yield from _extension_findings(header, image)


def _outside_findings(header: Qcow2Header, image: BinaryIO) -> Iterator[Finding]:
    """Whatever makes QEMU open a second file or ask for a key."""
    if header.backing_file_offset:
        name = backing_file(image)
        yield "backing_file", f"has the backing file {name!r}; allowed is an image that is complete in one file"
    if header.incompatible & DATA_FILE or header.autoclear & RAW_DATA_FILE_AUTOCLEAR:
        yield "data_file", "keeps its data in an external file; allowed is an image that is complete in one file"
    if header.encryption:
        method = ENCRYPTION.get(header.encryption, f"method {header.encryption}")
        yield "encrypted", f"is encrypted ({method}); allowed is an image without encryption"


def _state_findings(header: Qcow2Header) -> Iterator[Finding]:
    unknown = header.incompatible & ~KNOWN_FEATURES
    if unknown:
        bits = ", ".join(str(bit) for bit in range(64) if unknown >> bit & 1)
        yield "unknown_features", f"needs unknown features (incompatible bits {bits}); known are bits 0 to 4"
    if header.incompatible & DIRTY:
        yield "dirty", "was not closed cleanly (dirty bit); let its maker repair it with `qemu-img check -r all`"
    if header.incompatible & CORRUPT:
        yield "corrupt", "is marked as corrupt; allowed is an undamaged image"
    if header.snapshots:
        yield "snapshots", f"has {header.snapshots} internal snapshots; allowed are none"
    declared = bool(header.incompatible & COMPRESSION)
    if header.compression_type not in COMPRESSION_TYPES or declared != bool(header.compression_type):
        yield (
            "compression_type",
            f"compression type {header.compression_type} with the feature bit {'set' if declared else 'clear'}; "
            "allowed are 0 (zlib) with it clear and 1 (zstd) with it set",
        )


def _layout_findings(header: Qcow2Header) -> Iterator[Finding]:
    cluster_bytes = 1 << header.cluster_bits
    if header.incompatible & EXTENDED_L2 and header.cluster_bits < EXTENDED_L2_CLUSTER_BITS_MIN:
        yield (
            "cluster_bits",
            f"cluster_bits {header.cluster_bits} with extended L2 entries; allowed are "
            f"{EXTENDED_L2_CLUSTER_BITS_MIN} to {CLUSTER_BITS_MAX}",
        )
    if header.version == 3:
        length = header.header_length
        if length < V3_LENGTH or length % 8 or length > cluster_bytes:
            yield (
                "header_length",
                f"header length {length}; allowed are multiples of 8 from {V3_LENGTH} to the cluster's {cluster_bytes}",
            )
    if header.refcount_order > REFCOUNT_ORDER_MAX:
        yield "refcount_order", f"refcount order {header.refcount_order}; allowed are 0 to {REFCOUNT_ORDER_MAX}"


def _table_findings(header: Qcow2Header, size_bytes: int) -> Iterator[Finding]:
    """The two tables that QEMU loads on opening: where they are, how big, and whether L1 covers the disk."""
    cluster_bytes = 1 << header.cluster_bits
    entry_bits = 4 if header.incompatible & EXTENDED_L2 else 3
    bytes_per_l1_entry = 1 << (header.cluster_bits + header.cluster_bits - entry_bits)
    needed = -(-header.virtual_size_bytes // bytes_per_l1_entry)
    if header.l1_entries < needed:
        yield "l1_table", f"L1 table has {header.l1_entries} entries, the virtual size needs {needed}"
    if not header.refcount_table_clusters:
        yield "refcount_table", "has no refcount table"
    tables: List[Tuple[str, int, int, int]] = [
        ("l1_table", header.l1_offset, header.l1_entries * 8, L1_BYTES_MAX),
        (
            "refcount_table",
            header.refcount_table_offset,
            header.refcount_table_clusters * cluster_bytes,
            REFCOUNT_TABLE_BYTES_MAX,
        ),
    ]
    for reason, offset, length, allowed in tables:
        name = reason.replace("_", " ")
        if length > allowed:
            yield reason, f"{name} of {length} bytes; allowed are {allowed}"
        if length and (offset % cluster_bytes or offset < cluster_bytes or offset + length > size_bytes):
            yield (
                reason,
                f"{name} at {offset} with {length} bytes; allowed is a multiple of the cluster size {cluster_bytes} "
                f"behind the header and within the file's {size_bytes} bytes",
            )


def _extension_findings(header: Qcow2Header, image: BinaryIO) -> Iterator[Finding]:
    """Walks the header extensions: they end with type 0, with the first cluster, or before a backing file's name."""
    end = 1 << header.cluster_bits
    if 0 < header.backing_file_offset < end:
        end = header.backing_file_offset
    offset = header.header_length
    for _count in range(EXTENSIONS_MAX):
        if offset >= end:
            return
        start = read_at(image, offset, EXTENSION.size)
        if len(start) < EXTENSION.size or offset + EXTENSION.size > end:
            yield "extension", f"header extensions are cut off at {offset}"
            return
        kind, length = EXTENSION.unpack(start)
        offset += EXTENSION.size
        if length > end - offset:
            yield "extension", f"header extension {kind:#010x} of {length} bytes; room is for {end - offset}"
            return
        if kind == EXTENSION_END:
            return
        if kind == EXTENSION_DATA_FILE:
            name = read_at(image, offset, min(length, BACKING_NAME_BYTES_MAX)).decode("utf-8", "replace")
            yield (
                "data_file",
                f"names the external data file {name!r}; allowed is an image that is complete in one file",
            )
        if kind == EXTENSION_ENCRYPTION:
            yield "encrypted", "has an encryption header; allowed is an image without encryption"
        offset += -(-length // 8) * 8
    yield "extension", f"more than {EXTENSIONS_MAX} header extensions"
