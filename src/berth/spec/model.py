# SPDX-License-Identifier: GPL-3.0-or-later
"""What every catalog entry shares, and the small entries: flavor, project, key pair."""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from berth.spec import names
from berth.spec.extra_specs import allowed_instead

# Validators raise ValueError with the text of what is allowed; berth.spec.explain adds what was found and where.

MAX_VCPUS = 1024
MAX_MEMORY_MIB = 64 * 1024 * 1024
MAX_DISK_GIB = 64 * 1024
UNLIMITED = -1

_PROPERTY = re.compile(r"(hw|os)_[a-z0-9_]{1,60}")
_SPEC_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
KEY_RULE = "one line of an OpenSSH public key, such as `ssh-ed25519 AAAA... me`"


class Entry(BaseModel):
    """A value from a file: unknown keys are errors, nothing is converted, nothing changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _checked_name(text: str) -> str:
    if not names.is_name(text):
        raise ValueError(names.NAME_RULE)
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("text of printable characters on one line")
    return text


def _property_name(text: str) -> str:
    if not _PROPERTY.fullmatch(text):
        raise ValueError("names beginning with hw_ or os_, of lower-case letters, digits and underscore")
    return text


def _spec_key(text: str) -> str:
    if not _SPEC_KEY.fullmatch(text):
        raise ValueError("1 to 255 of letters, digits, dot, colon, dash and underscore")
    return text


def _read_spec(key: str) -> str:
    instead = allowed_instead(key)
    if instead is not None:
        raise ValueError(instead)
    return key


Name = Annotated[str, AfterValidator(_checked_name)]
Line = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Properties = dict[Annotated[str, AfterValidator(_property_name)], Line]
Pairs = dict[Annotated[str, AfterValidator(_spec_key)], Line]
ExtraSpecs = dict[Annotated[str, AfterValidator(_spec_key), AfterValidator(_read_spec)], Line]
NAME_FIELD: Any = Field(description=names.NAME_RULE)


class Machine(StrEnum):
    """The machine types, in libvirt's words."""

    Q35 = "q35"
    PC = "pc"


class Firmware(StrEnum):
    """How a guest starts."""

    BIOS = "bios"
    EFI = "efi"


class OnHostBoot(StrEnum):
    """What becomes of a guest when its host boots."""

    LEAVE = "leave"
    START = "start"


class Flavor(Entry):
    """The size and kind of a guest."""

    name: Name = NAME_FIELD
    vcpus: int = Field(ge=1, le=MAX_VCPUS, description="a whole number of virtual CPUs, at least 1")
    memory_mib: int = Field(ge=1, le=MAX_MEMORY_MIB, description="a whole number of MiB, at least 1")
    disk_gib: int = Field(ge=0, le=MAX_DISK_GIB, description="a whole number of GiB; 0 is the image's own size")
    machine: Machine = Field(default=Machine.Q35, strict=False)
    firmware: Firmware = Field(default=Firmware.BIOS, strict=False)
    extra_specs: ExtraSpecs = Field(default={}, description="what placement matches against hosts")
    properties: Properties = Field(default={}, description="hw_* of the guest; they win over the image's")
    on_host_boot: OnHostBoot = Field(default=OnHostBoot.LEAVE, strict=False)


Limit = Annotated[int, Field(ge=UNLIMITED, le=2**53)]


class Quota(Entry):
    """What a project may use in all, and below what each of its guests may bring along; -1 is unlimited."""

    instances: Limit = UNLIMITED
    cores: Limit = UNLIMITED
    ram_mib: Limit = UNLIMITED
    disk_gib: Limit = UNLIMITED
    server_groups: Limit = UNLIMITED
    metadata_items: Limit = UNLIMITED
    injected_files: Limit = UNLIMITED
    injected_file_content_bytes: Limit = UNLIMITED


class Project(Entry):
    """A group of guests with names of their own. The project `default` always exists."""

    name: Name = NAME_FIELD
    quota: Quota = Quota()
    default_network: Name | None = Field(default=None, description="for requests that name no network")


class KeyPair(Entry):
    """An SSH public key that may log in to the guests booted with it."""

    name: Name = NAME_FIELD
    public_key_file: Line | None = Field(default=None, description="where public_key was read from")
    public_key: str = Field(default="", max_length=16384, validate_default=True, description="the OpenSSH line")

    @field_validator("public_key")
    @classmethod
    def _check_public_key(cls, text: str, info: ValidationInfo) -> str:
        line, file = text.strip(), info.data.get("public_key_file")
        if file and line:
            raise ValueError("public_key or public_key_file, one of the two")
        if file or (not text and "public_key_file" not in info.data):
            return line
        if not line.isprintable() or not is_public_key(line):
            raise ValueError(f"{KEY_RULE}, of type {', '.join(_KEY_TYPES)}")
        return line


def is_public_key(line: str) -> bool:
    """Returns whether `line` is TYPE BASE64 [COMMENT] with a known type and a blob of that type.

    The blob is a row of strings, each behind its length as four bytes, the type first (RFC 4253, 6.6).
    """
    parts = line.split(None, 2)
    if len(parts) < 2 or parts[0] not in _KEY_TYPES:
        return False
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return False
    fields = []
    while len(blob) >= 4:
        length = int.from_bytes(blob[:4])
        if length > len(blob) - 4:
            return False
        fields.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return not blob and len(fields) >= 2 and fields[0] == parts[0].encode() and all(fields)
