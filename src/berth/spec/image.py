# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: where their bytes come from and how they are known to be the right ones."""

from __future__ import annotations

import ipaddress
import re
import socket
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, ValidationInfo, field_validator

from berth.spec.model import MAX_DISK_GIB, MAX_MEMORY_MIB, NAME_FIELD, Entry, Line, Name, Properties

MAX_VIRTUAL_SIZE_GIB = 100

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DIGEST_RULE = "sha256: and 64 or sha512: and 128 hexadecimal digits"
_SOURCE_RULE = "a https:// or http:// URL, or a path from the cloud's directory"
_LOCAL_RULE = "only with allow_local_source: true, because it may reach what only the host may reach"
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_FIRST_WORD = re.compile(r"[a-z]+")

_ALGORITHMS = {64: "sha256", 128: "sha512"}
_GNU_SUM = re.compile(r"(?P<hex>[0-9a-fA-F]{64}|[0-9a-fA-F]{128}) [ *](?P<name>.+)")
_BSD_SUM = re.compile(r"SHA(?:256|512) \((?P<name>.+)\) = (?P<hex>[0-9a-fA-F]{64}|[0-9a-fA-F]{128})")

# The user that the publisher's cloud-init makes, by the first word of the image's name.
_LOGIN_USERS = {
    "debian": "debian",
    "ubuntu": "ubuntu",
    "fedora": "fedora",
    "centos": "cloud-user",
    "rhel": "cloud-user",
    "rocky": "rocky",
    "almalinux": "almalinux",
    "alpine": "alpine",
    "arch": "arch",
}


class Format(StrEnum):
    """The image formats that are taken; a format is declared, never guessed."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Architecture(StrEnum):
    """The guest architectures, as libvirt names them."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


class Image(Entry):
    """A disk image. Its bytes are fixed by `digest`, or by the publisher's `sums` file at the time of the pull."""

    name: Name = NAME_FIELD
    insecure: bool = Field(default=False, description="accept a sums file that came over http://")
    allow_local_source: bool = Field(default=False, description="accept file:// and URLs of the host itself")
    source: Line = Field(description="URL, or a path from the cloud's directory")
    format: Format = Field(strict=False, description="qcow2 or raw")
    sums: Line | None = Field(default=None, description="URL or path of the publisher's SHA256SUMS or SHA512SUMS")
    digest: str | None = Field(default=None, validate_default=True, description=_DIGEST_RULE)
    login_user: str = Field(default="", validate_default=True, description="the user that the key logs in as")
    min_disk_gib: int = Field(default=0, ge=0, le=MAX_DISK_GIB)
    min_memory_mib: int = Field(default=0, ge=0, le=MAX_MEMORY_MIB)
    max_virtual_size_gib: int = Field(default=MAX_VIRTUAL_SIZE_GIB, ge=1, le=MAX_DISK_GIB)
    architecture: Architecture = Field(default=Architecture.X86_64, strict=False)
    properties: Properties = Field(default={}, description="hw_* and os_* of its guests")

    @field_validator("source", "sums")
    @classmethod
    def _check_location(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            return None
        if is_local_path(text):
            if not text or text.endswith("/"):
                raise ValueError(_SOURCE_RULE)
            return text
        _check_url(text, allow_local=bool(info.data.get("allow_local_source")))
        return text

    @field_validator("digest")
    @classmethod
    def _check_digest(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            if not _DIGEST.fullmatch(text.lower()):
                raise ValueError(_DIGEST_RULE)
            return text.lower()
        source, sums = info.data.get("source"), info.data.get("sums")
        if source is None or "sums" not in info.data or is_local_path(source):
            return None
        if sums is None:
            raise ValueError(f"{_DIGEST_RULE}, or the publisher's sums file under `sums`")
        if sums.startswith("http://") and not info.data.get("insecure"):
            raise ValueError(f"{_DIGEST_RULE}, because sums over http:// prove nothing; or insecure: true")
        return None

    @field_validator("login_user")
    @classmethod
    def _check_login_user(cls, text: str, info: ValidationInfo) -> str:
        if not text:
            return default_login_user(info.data.get("name", ""))
        if not _LOGIN.fullmatch(text):
            raise ValueError("a user name: at most 32 of lower-case letters, digits, dash and underscore")
        return text

    def pull_item(self, cloud_path: Path) -> dict[str, Any]:
        """Returns the image as `berth.kvm.image` takes it (docs/data.md, 4); a path source is made absolute."""
        source = self.source
        if is_local_path(source):
            source = str(cloud_path / Path(source).expanduser())
        return {
            "name": self.name,
            "source": source,
            "format": self.format.value,
            "digest": self.digest,
            # A sums file on the controller was read with the catalog; the host fetches URLs only.
            "sums": self.sums if self.sums and not is_local_path(self.sums) else None,
            "max_virtual_size_gib": self.max_virtual_size_gib,
            "allow_local_source": self.allow_local_source,
            "insecure": self.insecure,
        }


def default_login_user(image_name: str) -> str:
    """Returns the user of the publisher's images by the first word of the name, else root."""
    word = _FIRST_WORD.match(image_name.lower())
    return _LOGIN_USERS.get(word.group(), "root") if word else "root"


def digest_in_sums(text: str, file_name: str) -> str | None:
    """Returns `sha256:...` or `sha512:...` of a file in a sums file, GNU's or BSD's form, or None."""
    for line in text.splitlines():
        found = _GNU_SUM.fullmatch(line.strip()) or _BSD_SUM.fullmatch(line.strip())
        if found and found["name"].rsplit("/", 1)[-1] == file_name:
            return f"{_ALGORITHMS[len(found['hex'])]}:{found['hex'].lower()}"
    return None


def is_local_path(source: str) -> bool:
    """Returns whether `source` is a path on the controller and not a URL."""
    return "://" not in source and not source.lower().startswith("file:")


def _check_url(text: str, *, allow_local: bool) -> None:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise ValueError(f"{_SOURCE_RULE} ({error})") from error
    if text.split() != [text] or "\\" in text or url.scheme not in ("http", "https", "file"):
        raise ValueError(_SOURCE_RULE)
    if url.username is not None or url.password is not None:
        raise ValueError("a URL without a user and password, because it is stored and logged")
    if not url.path.strip("/") or url.path.endswith("/"):
        raise ValueError("the URL of a file, not of a folder")
    if url.scheme == "file":
        if url.hostname:
            raise ValueError("file:/// and a path on the host")
    elif not url.hostname:
        raise ValueError(_SOURCE_RULE)
    if not allow_local and _is_local(url):
        raise ValueError(_LOCAL_RULE)


def _is_local(url: SplitResult) -> bool:
    if url.scheme == "file":
        return True
    host = (url.hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (
        address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the address that `host` spells, in any of the ways resolvers take (0x7f.1, 2130706433), or None."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address
