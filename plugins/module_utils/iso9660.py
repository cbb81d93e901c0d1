# SPDX-License-Identifier: GPL-3.0-or-later
"""Small ISO 9660 images: a few files in one folder, with Rock Ridge and Joliet names.

Enough for a seed and no more. Sources: ECMA-119 (volume descriptors 8.4, directory records 9.1, path tables 9.4),
IEEE P1281 SUSP and P1282 RRIP (SP, CE, ER, PX, NM), Joliet specification (supplementary descriptor, UCS-2 names).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Callable, Dict, List, Mapping, Tuple

SECTOR = 2048
NAME_MAX = 60
ROOT_MAX_BYTES = 64 * 1024

# Where everything is; the files follow.
_PRIMARY, _JOLIET, _END = 16, 17, 18
_TABLE_LE, _TABLE_BE, _JOLIET_TABLE_LE, _JOLIET_TABLE_BE = 19, 20, 21, 22
_ROOT, _JOLIET_ROOT, _CONTINUATION = 23, 24, 25
_FIRST_FILE = 26
# As mkisofs pads: programs that look for labels read the first 68 KiB of a disk in one go (busybox's findfs).
_PADDING = 150

# One fixed time, 2000-01-01 UTC, so that equal content makes equal images.
_RECORD_TIME = bytes((100, 1, 1, 0, 0, 0, 0))
_VOLUME_TIME = b"2000010100000000\0"
_NO_TIME = b"0000000000000000\0"

_DIRECTORY, _FILE = 2, 0
_MODE_DIRECTORY, _MODE_FILE = 0o040555, 0o100444
_EXTENSION = (b"RRIP_1991A", b"POSIX FILE SYSTEM SEMANTICS", b"IEEE P1282")

Names = Callable[[str], bytes]


@dataclass(frozen=True)
class _File:
    name: str
    content: bytes
    sector: int


def image(volume_id: str, files: Mapping[str, bytes]) -> bytes:
    """Returns an ISO 9660 image with the files in its root.

    Raises ValueError for a name or a volume id that the format cannot hold.
    """
    placed = _place(files)
    sectors = {
        _PRIMARY: _volume(b"\x01", volume_id.ljust(32).encode("ascii"), _ROOT, (_TABLE_LE, _TABLE_BE), b""),
        _JOLIET: _volume(
            b"\x02", _ucs2(volume_id.ljust(16)), _JOLIET_ROOT, (_JOLIET_TABLE_LE, _JOLIET_TABLE_BE), b"%/E"
        ),
        _END: b"\xffCD001\x01",
        _TABLE_LE: _path_table("<", _ROOT),
        _TABLE_BE: _path_table(">", _ROOT),
        _JOLIET_TABLE_LE: _path_table("<", _JOLIET_ROOT),
        _JOLIET_TABLE_BE: _path_table(">", _JOLIET_ROOT),
        _ROOT: _folder(placed, _ROOT, _plain_name, rock_ridge=True),
        _JOLIET_ROOT: _folder(placed, _JOLIET_ROOT, _joliet_name, rock_ridge=False),
        _CONTINUATION: _extension_record(),
    }
    end = max([_FIRST_FILE, *(file.sector + _sectors(file.content) for file in placed)]) + _PADDING
    out = bytearray(end * SECTOR)
    for sector, data in sectors.items():
        if len(data) > SECTOR:
            raise ValueError(f"too many files for one folder of {SECTOR} bytes")
        out[sector * SECTOR : sector * SECTOR + len(data)] = data
    for file in placed:
        out[file.sector * SECTOR : file.sector * SECTOR + len(file.content)] = file.content
    # Both descriptors carry the size of the volume (ECMA-119, 8.4.8).
    for descriptor in (_PRIMARY, _JOLIET):
        out[descriptor * SECTOR + 80 : descriptor * SECTOR + 88] = _both32(end)
    return bytes(out)


def read_file(iso: BinaryIO, name: str, limit_bytes: int) -> bytes:
    """Returns the content of one file in the root of an image, found by its Rock Ridge name.

    Raises ValueError when it is no ISO image, has no such file, or the file has more than `limit_bytes`.
    """
    descriptor = _read_at(iso, _PRIMARY * SECTOR, SECTOR)
    if descriptor[:7] != b"\x01CD001\x01":
        raise ValueError("it is no ISO 9660 image")
    sector, size = _extent(descriptor[156:190])
    root = _read_at(iso, sector * SECTOR, min(size, ROOT_MAX_BYTES))
    for record in _records(root):
        if _rock_ridge_name(record) == name:
            sector, size = _extent(record)
            if size > limit_bytes:
                raise ValueError(f"{name} has {size} bytes, allowed are {limit_bytes}")
            return _read_at(iso, sector * SECTOR, size)
    raise ValueError(f"it has no file {name}")


def _place(files: Mapping[str, bytes]) -> List[_File]:
    placed, sector = [], _FIRST_FILE
    for name in sorted(files, key=_plain_name):
        if not name or len(name) > NAME_MAX or not name.isascii() or not name.isprintable() or "/" in name:
            raise ValueError(f"file name {name!r}: allowed are 1 to {NAME_MAX} printable ASCII characters without /")
        placed.append(_File(name, files[name], sector))
        sector += _sectors(files[name])
    if len({_plain_name(file.name) for file in placed}) != len(placed):
        raise ValueError("two file names are the same in upper case")
    return placed


def _sectors(content: bytes) -> int:
    return -(-len(content) // SECTOR)


def _plain_name(name: str) -> bytes:
    """Returns the ISO name: upper case, anything else than letters, digits and _ replaced, one dot, version 1."""
    stem, _dot, suffix = name.upper().partition(".")
    kept = ["".join(c if c.isalnum() else "_" for c in part) for part in (stem, suffix)]
    return f"{kept[0]}.{kept[1]};1".encode("ascii", "replace")


def _joliet_name(name: str) -> bytes:
    return _ucs2(name)


def _ucs2(text: str) -> bytes:
    return text.encode("utf-16-be")


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both32(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _record(identifier: bytes, sector: int, size: int, flags: int, system_use: bytes = b"") -> bytes:
    """Returns one directory record (ECMA-119, 9.1)."""
    padding = b"\0" if len(identifier) % 2 == 0 else b""
    body = (
        b"\0" + _both32(sector) + _both32(size) + _RECORD_TIME + bytes((flags, 0, 0)) + _both16(1)
        + bytes((len(identifier),)) + identifier + padding + system_use
    )  # fmt: skip
    if len(body) % 2 == 0:
        body += b"\0"
    return bytes((len(body) + 1,)) + body


def _folder(files: List[_File], own: int, named: Names, *, rock_ridge: bool) -> bytes:
    dot = _sharing() + _mode(_MODE_DIRECTORY, 2) + _continued() if rock_ridge else b""
    dotdot = _mode(_MODE_DIRECTORY, 2) if rock_ridge else b""
    records = [_record(b"\0", own, SECTOR, _DIRECTORY, dot), _record(b"\1", own, SECTOR, _DIRECTORY, dotdot)]
    for file in sorted(files, key=lambda file: named(file.name)):
        system_use = _mode(_MODE_FILE, 1) + _alternate_name(file.name) if rock_ridge else b""
        records.append(_record(named(file.name), file.sector, len(file.content), _FILE, system_use))
    return b"".join(records)


def _path_table(order: str, root: int) -> bytes:
    return struct.pack(f"{order}BBIH", 1, 0, root, 1) + b"\0\0"


def _volume(kind: bytes, volume_id: bytes, root: int, tables: Tuple[int, int], escapes: bytes) -> bytes:
    """Returns a primary (kind 1) or supplementary (kind 2) descriptor (ECMA-119, 8.4 and 8.5)."""
    if len(volume_id) != 32:
        raise ValueError("a volume id has at most 16 characters")
    space = _ucs2(" ") if escapes else b" "
    parts = [
        kind, b"CD001\x01\0", space * (32 // len(space)), volume_id, bytes(8), bytes(8), escapes.ljust(32, b"\0"),
        _both16(1), _both16(1), _both16(SECTOR), _both32(10),
        struct.pack("<II", tables[0], 0), struct.pack(">II", tables[1], 0),
        _record(b"\0", root, SECTOR, _DIRECTORY),
        space * (128 * 4 // len(space)), (space * 37)[:37] * 3,
        _VOLUME_TIME, _VOLUME_TIME, _NO_TIME, _NO_TIME, b"\x01\0",
    ]  # fmt: skip
    return b"".join(parts)


def _sharing() -> bytes:
    return b"SP\x07\x01\xbe\xef\0"


def _continued() -> bytes:
    return b"CE\x1c\x01" + _both32(_CONTINUATION) + _both32(0) + _both32(len(_extension_record()))


def _extension_record() -> bytes:
    identifier, description, source = _EXTENSION
    lengths = bytes((len(identifier), len(description), len(source), 1))
    body = b"\x01" + lengths + identifier + description + source
    return b"ER" + bytes((len(body) + 3,)) + body


def _mode(mode: int, links: int) -> bytes:
    return b"PX\x24\x01" + _both32(mode) + _both32(links) + _both32(0) + _both32(0)


def _alternate_name(name: str) -> bytes:
    return b"NM" + bytes((len(name) + 5, 1, 0)) + name.encode("ascii")


def _read_at(iso: BinaryIO, offset: int, length: int) -> bytes:
    iso.seek(offset)
    data = iso.read(length)
    if len(data) < length:
        raise ValueError("it ends in the middle")
    return data


def _extent(record: bytes) -> Tuple[int, int]:
    sector, size = struct.unpack_from("<I", record, 2)[0], struct.unpack_from("<I", record, 10)[0]
    return int(sector), int(size)


def _records(root: bytes) -> List[bytes]:
    found, offset = [], 0
    while offset < len(root):
        length = root[offset]
        if length == 0:
            offset += SECTOR - offset % SECTOR
            continue
        record = root[offset : offset + length]
        if len(record) < 34 or len(record) < 33 + record[32]:
            raise ValueError("its root folder is damaged")
        found.append(record)
        offset += length
    return found


def _rock_ridge_name(record: bytes) -> str:
    """Returns the NM name of a record, '' for one without."""
    start = 33 + record[32]
    start += 1 - record[32] % 2
    fields: Dict[bytes, bytes] = {}
    while start + 4 <= len(record) and record[start + 2] >= 4:
        fields[record[start : start + 2]] = record[start : start + record[start + 2]]
        start += record[start + 2]
    return fields.get(b"NM", b"")[5:].decode("ascii", "replace")
