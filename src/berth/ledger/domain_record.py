# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's record (docs/data.md, section 3) must be for its guest to be recorded from it. Pure.

A domain may have been edited by hand: a record is taken as it is, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth.ledger.values import WHOLE_MOST, is_json, is_text, is_time, is_whole
from berth.units import MIB_PER_GIB

RECORD_VERSION = 1

# A rule for one value; of a map by key (`key?` may be missing), of each item of a list; in a tuple: or null.
_Shape = Callable[[Any], bool] | Mapping[str, Any] | list[Any] | tuple[Any]


def _is_name(value: Any) -> bool:
    return is_text(value) and value != ""


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_port(value: Any) -> bool:
    return is_whole(value, 1, 65535)


def _is_disk(value: Any) -> bool:
    return is_whole(value, 0, WHOLE_MOST // MIB_PER_GIB)


def _is_pinning(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        str(guest).isdecimal() and is_whole(host) for guest, host in value.items()
    )


_INTERFACE = {"network?": is_text, "mac?": (is_text,), "address?": (is_text,), "ssh_port?": (_is_port,)}
_CELL = {
    "guest_cell": is_whole,
    "host_cell": is_whole,
    "memory_mib": is_whole,
    "guest_cpus": [is_whole],
    "cpus?": _is_pinning,
    "cpuset?": [is_whole],
    "page_size_kib?": (is_whole,),
    "blocked?": [is_whole],
}
_PINS = {"cells?": [_CELL], "pci_addresses?": [is_text], "emulator_cpus?": [is_whole]}
_POLICY = {"policy": is_text, "max_server_per_host": is_whole}
_RECORD: dict[str, _Shape] = {
    **dict.fromkeys(("uuid", "name", "project", "flavor", "image"), _is_name),
    "vcpus": is_whole,
    "memory_mib": is_whole,
    "disk_gib": _is_disk,
    "networks?": [_INTERFACE],
    "pins?": (_PINS,),
    "cpuset?": ([is_whole],),
    "group_policy?": (_POLICY,),
    **dict.fromkeys(("image_digest?", "server_group?", "ssh_host_key?", "request_id?", "domain_name?"), (is_text,)),
    **dict.fromkeys(("login_user?", "instance_dir?", "console_log?"), (is_text,)),
    **dict.fromkeys(("metadata?", "properties?", "extra_specs?"), (_is_map,)),
    "created_at?": (is_time,),
}


def record_mistake(uuid: str, record: Mapping[str, Any]) -> str | None:
    """Returns why the record of the domain `uuid` cannot be used, with everything that is wrong; None when it can."""
    if record.get("version") != RECORD_VERSION:
        return f"version {record.get('version')!r}, allowed: {RECORD_VERSION}"
    wrong = list(_wrong(_RECORD, record, ""))
    if wrong:
        return f"missing or wrong: {', '.join(wrong)}"
    if record["uuid"] != uuid:
        return f"it is of guest {record['uuid']}"
    if not is_json(record):
        return "it has a number that is none, NaN or Infinity"
    pinned = pinned_cpus(record)
    if pinned > record["vcpus"]:
        return f"pins has {pinned} CPUs, the guest {record['vcpus']}"
    return None


def pinned_cpus(record: Mapping[str, Any]) -> int:
    """Returns how many of the guest's CPUs are pinned: these were never booked as vCPUs."""
    return sum(len(cell.get("cpus", ())) for cell in (record.get("pins") or {}).get("cells", ()))


def _wrong(shape: _Shape, value: Any, where: str) -> Iterator[str]:
    """Yields the path of everything in the value that does not have its shape."""
    if isinstance(shape, tuple):
        if value is None:
            return
        (shape,) = shape
    kind = Mapping if isinstance(shape, Mapping) else list
    if not (shape(value) if callable(shape) else isinstance(value, kind)):
        yield where
        return
    for inner, part, name in _parts(shape, value):
        yield from _wrong(inner, part, f"{where}{name}".removeprefix("."))


def _parts(shape: _Shape, value: Any) -> Iterator[tuple[_Shape, Any, str]]:
    if isinstance(shape, Mapping):
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value or name == key:
                yield inner, value.get(name), f".{name}"
    elif isinstance(shape, list):
        for number, item in enumerate(value):
            yield shape[0], item, f"[{number}]"
