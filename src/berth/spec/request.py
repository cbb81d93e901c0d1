# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot request: what the user asks for, and the same with its names looked up in the catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from berth.errors import InvalidInput, NotFound, Problem
from berth.spec import names
from berth.spec.catalog import DEFAULT_PROJECT, Catalog
from berth.spec.explain import Place, problems_of, unknown_name
from berth.spec.hints import MAX_COUNT, Group, Hints, Zone
from berth.spec.image import Image
from berth.spec.model import Entry, Flavor, KeyPair, Name, OnHostBoot, Pairs, Project
from berth.spec.network import Network

CATALOG_HINT = "`berth flavor list`, `berth image list` and `berth network list` show what there is"
MAX_USER_DATA_BYTES = 65535

# Keys of an image that say whether it is taken, not what boots.
_CHECKED_ONLY = {"insecure", "allow_local_source", "min_disk_gib", "min_memory_mib", "max_virtual_size_gib"}
_Found = TypeVar("_Found")


class BootRequest(Entry):
    """What the user asks for. Names are not looked up yet: `resolve` does that."""

    name: str = Field(description=names.GUEST_NAME_RULE)
    count: int = Field(default=1, ge=1, le=MAX_COUNT, description="above 1 the guests are NAME-1 to NAME-COUNT")
    flavor: Name = Field(description="the name of a flavor of the catalog")
    image: Name = Field(description="the name of an image of the catalog")
    networks: tuple[Name, ...] = Field(default=(), strict=False, max_length=8)
    key_name: Name | None = None
    key_names: tuple[Name, ...] = Field(default=(), strict=False, max_length=32)
    project: Name = DEFAULT_PROJECT
    availability_zone: Zone | None = Field(default=None, description="a zone; ZONE:HOST or :HOST forces that host")
    group: Group | None = Field(default=None, description="a group, or the name of one that exists")
    hints: Hints = Hints()
    profile: Name | None = Field(default=None, description="a placement profile of catalog/placement.yml")
    seed: int | None = Field(default=None, ge=0, le=2**53, description="of profiles that choose by chance")
    user_data: str | None = Field(default=None, description="handed to cloud-init as it is; at most 65535 bytes")
    metadata: Pairs = Field(default={}, max_length=128)
    on_host_boot: OnHostBoot | None = Field(default=None, strict=False, description="default: the flavor's")
    partial: bool = Field(default=False, description="keep the guests that can be made when not all can")
    min_count: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="take what fits, but not fewer")

    @field_validator("name")
    @classmethod
    def _check_name(cls, text: str) -> str:
        if not names.is_guest_name(text):
            raise ValueError(names.GUEST_NAME_RULE)
        return text

    @field_validator("count")
    @classmethod
    def _check_numbered_name(cls, count: int, info: ValidationInfo) -> int:
        name = info.data.get("name", "")
        if count > 1 and len(f"{name}-{count}") > names.MAX_LENGTH:
            raise ValueError(f"1, because {name}-{count} is longer than the {names.MAX_LENGTH} characters of a name")
        return count

    @field_validator("min_count")
    @classmethod
    def _check_min_count(cls, least: int | None, info: ValidationInfo) -> int | None:
        count = info.data.get("count", MAX_COUNT)
        if least is not None and least > count:
            raise ValueError(f"at most the count, {count}")
        return least

    @field_validator("group", mode="before")
    @classmethod
    def _group_of_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("hints")
    @classmethod
    def _check_forced(cls, hints: Hints, info: ValidationInfo) -> Hints:
        forced = (info.data.get("availability_zone") or "").partition(":")[2]
        asked = (hints.force_host, hints.force_node, hints.destination)
        if forced and any(host not in (None, forced) for host in asked):
            raise ValueError(f"no other host than {forced}, which availability_zone forces")
        return hints

    @field_validator("user_data")
    @classmethod
    def _check_user_data(cls, text: str | None) -> str | None:
        if text is not None and ("\0" in text or len(text.encode()) > MAX_USER_DATA_BYTES):
            raise ValueError(f"text of at most {MAX_USER_DATA_BYTES} bytes without zero bytes")
        return text

    @property
    def least(self) -> int:
        """Returns how many guests have to fit."""
        return self.min_count or (1 if self.partial else self.count)

    @property
    def zone(self) -> str | None:
        """Returns the availability zone asked for, without a host."""
        return (self.availability_zone or "").partition(":")[0] or None

    @property
    def forced_host(self) -> str | None:
        """Returns the host that is forced, by the availability zone or a hint."""
        return (self.availability_zone or "").partition(":")[2] or self.hints.forced

    @property
    def all_key_names(self) -> tuple[str, ...]:
        """Returns the key pairs asked for, key_name first, each once."""
        first = (self.key_name,) if self.key_name is not None else ()
        return tuple(dict.fromkeys((*first, *self.key_names)))


@dataclass(frozen=True)
class ResolvedRequest:
    """A request whose names are looked up. `networks` holds at least one, in the order of the interfaces."""

    request: BootRequest
    flavor: Flavor
    image: Image
    networks: tuple[Network, ...]
    keys: tuple[KeyPair, ...]
    project: Project

    @property
    def on_host_boot(self) -> OnHostBoot:
        """Returns what the request says, else the flavor."""
        return self.request.on_host_boot or self.flavor.on_host_boot

    @property
    def properties(self) -> dict[str, str]:
        """Returns the image's properties with the flavor's over them."""
        return {**self.image.properties, **self.flavor.properties}


def parse_boot_request(data: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> BootRequest:
    """Returns the request in `data`, plain or Ansible's tagged values.

    `where` names the request in the mistakes; `places` maps paths such as `group.policy` to `file:line` where the
    caller knows them. Raises InvalidInput with every mistake.
    """
    try:
        return BootRequest.model_validate(_plain(data))
    except ValidationError as error:
        problems = problems_of(error, BootRequest, Place(where, places))
        raise InvalidInput.from_problems("boot request", problems, hint="docs/catalog.md describes it") from error


def guest_names(request: BootRequest) -> tuple[str, ...]:
    """Returns `web` for count 1, else `web-1` to `web-N`."""
    if request.count == 1:
        return (request.name,)
    return tuple(f"{request.name}-{number}" for number in range(1, request.count + 1))


def resolve(request: BootRequest, catalog: Catalog) -> ResolvedRequest:
    """Returns the request with the catalog's entries in place of their names.

    Without networks it takes the project's default one, else the catalog's only one. Raises with every mistake:
    NotFound when all of them are unknown names, else InvalidInput.
    """
    problems: list[Problem] = []
    flavor = _find("flavor", request.flavor, catalog.flavors, problems)
    image = _find("image", request.image, catalog.images, problems)
    project = _find("project", request.project, catalog.projects, problems)
    wanted = _network_names(request, project, catalog)
    networks = [_find("network", name, catalog.networks, problems) for name in wanted or ()]
    keys = [_find("key pair", name, catalog.keypairs, problems) for name in request.all_key_names]
    unknown = len(problems)
    if wanted is None:
        problems.append(_no_network(catalog))
    if flavor is not None and image is not None:
        problems += _misfits(flavor, image)
    if problems or flavor is None or image is None or project is None:
        kind = InvalidInput if len(problems) > unknown else NotFound
        raise kind.from_problems(f"boot {request.name}", problems, hint=CATALOG_HINT)
    return ResolvedRequest(request, flavor, image, _all_found(networks), _all_found(keys), project)


def request_digest(resolved: ResolvedRequest) -> str:
    """Returns `sha256:` and hex over everything that decides what the guests are and where they may run.

    The name, the counts, `partial` and `seed` are left out: a request repeated with a larger count asks for the same
    guests and some more. Two requests of one digest ask for equal guests, also after catalog edits.
    """
    request = resolved.request
    decided = {
        "version": 1,
        "flavor": _decided(resolved.flavor, {"on_host_boot"}),
        "image": _decided(resolved.image, _CHECKED_ONLY),
        "networks": [_decided(network, {"range"}) for network in resolved.networks],
        "public_keys": [key.public_key for key in resolved.keys],
        "project": resolved.project.name,
        "availability_zone": request.availability_zone,
        "group": request.group and _decided(request.group),
        "hints": _decided(request.hints),
        "user_data": request.user_data,
        "metadata": request.metadata,
        "on_host_boot": resolved.on_host_boot,
        **({"profile": request.profile} if request.profile else {}),
    }
    text = json.dumps(decided, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _decided(entry: Entry, left_out: set[str] | None = None) -> dict[str, Any]:
    # Without defaults, so that a key that a later version adds does not change the digest of an older request.
    return entry.model_dump(mode="json", exclude=left_out, exclude_defaults=True)


def _find(noun: str, name: str, entries: Mapping[str, _Found], problems: list[Problem]) -> _Found | None:
    if name not in entries:
        problems.append(unknown_name("", noun, name, entries))
    return entries.get(name)


def _network_names(request: BootRequest, project: Project | None, catalog: Catalog) -> tuple[str, ...] | None:
    """Returns the networks that the request means, None when that is not clear."""
    if request.networks or project is None:
        return request.networks
    if project.default_network is not None:
        return (project.default_network,)
    return tuple(catalog.networks) if len(catalog.networks) == 1 else None


def _no_network(catalog: Catalog) -> Problem:
    found = ", ".join(catalog.networks) or "none is in the catalog"
    return Problem(
        "", f"no network given, allowed: one or more of the catalog's ({found}), or a project's default_network"
    )


def _misfits(flavor: Flavor, image: Image) -> Iterable[Problem]:
    if 0 < flavor.disk_gib < image.min_disk_gib:
        text = f"flavor {flavor.name}: disk_gib {flavor.disk_gib} is below min_disk_gib {image.min_disk_gib}"
        yield Problem("", f"{text} of image {image.name}; choose a larger flavor")
    if flavor.memory_mib < image.min_memory_mib:
        text = f"flavor {flavor.name}: memory_mib {flavor.memory_mib} is below min_memory_mib {image.min_memory_mib}"
        yield Problem("", f"{text} of image {image.name}; choose a larger flavor")


def _all_found(entries: list[_Found | None]) -> tuple[_Found, ...]:
    return tuple(entry for entry in entries if entry is not None)


def _plain(value: Any) -> Any:
    """Returns `value` made of Python's own types: Ansible's values are subclasses of them."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    return value
