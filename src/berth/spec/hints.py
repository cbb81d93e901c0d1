# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot request may wish about its hosts: server group, availability zone, scheduler hints."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from berth.spec import names
from berth.spec.model import NAME_FIELD, Entry, Name
from berth.spec.query import QUERY_RULE, read_query

MAX_COUNT = 1000
MAX_NAMED = 1000

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CIDR = re.compile(r"/?(0|[1-9][0-9]{0,2})")
HOST_RULE = "the name of a host of the inventory"


def _checked_host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(HOST_RULE)
    return text


def _checked_guest(text: str) -> str:
    if not names.is_guest_name(text) and not _UUID.fullmatch(text):
        raise ValueError("the name or the UUID of a guest")
    return text


def _checked_zone(text: str) -> str:
    zone, colon, host = text.partition(":")
    if (zone and not names.is_name(zone)) or (colon and not _HOST.fullmatch(host)) or not text:
        raise ValueError("a zone, ZONE:HOST or :HOST")
    return text


Host = Annotated[str, AfterValidator(_checked_host)]
Guest = Annotated[str, AfterValidator(_checked_guest)]
Zone = Annotated[str, AfterValidator(_checked_zone)]


class Policy(StrEnum):
    """The policies of server groups, in Nova's words."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


class Group(Entry):
    """A server group to boot into; without a policy it is one that exists already."""

    name: Name = NAME_FIELD
    policy: Policy | None = Field(default=None, strict=False)
    max_server_per_host: int | None = Field(default=None, ge=1, le=MAX_COUNT, validate_default=True)

    @field_validator("max_server_per_host")
    @classmethod
    def _check_policy(cls, number: int | None, info: ValidationInfo) -> int | None:
        # Nova's API takes the rule with anti-affinity only (API guide, Server groups, microversion 2.64).
        if number is not None and info.data.get("policy", Policy.ANTI_AFFINITY) is not Policy.ANTI_AFFINITY:
            raise ValueError("nothing here, unless policy is anti-affinity")
        return number


class Hints(Entry):
    """Wishes about the host, most of them Nova's scheduler hints.

    `force_host` skips the profile's filters, `destination` does not. A host is its only node, so `force_node` says the
    same as `force_host`. Guests are named by name or UUID.
    """

    force_host: Host | None = Field(default=None, description="this host, the profile's filters skipped")
    force_node: Host | None = Field(default=None, description="the same: a host is its only node")
    destination: Host | None = Field(default=None, description="this host, if every filter lets it through")
    ignore_hosts: tuple[Host, ...] = Field(default=(), strict=False, max_length=MAX_NAMED)
    different_host: tuple[Guest, ...] = Field(default=(), strict=False, max_length=MAX_NAMED)
    same_host: tuple[Guest, ...] = Field(default=(), strict=False, max_length=MAX_NAMED)
    build_near_host_ip: str | None = Field(default=None, description="an address; hosts near it, as cidr says")
    cidr: str | None = Field(default=None, description="how near: a prefix length such as /24, the default")
    query: list[Any] | None = Field(default=None, description=QUERY_RULE)

    @field_validator("ignore_hosts", "different_host", "same_host", mode="before")
    @classmethod
    def _list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("force_node", "destination")
    @classmethod
    def _check_one_host(cls, host: str | None, info: ValidationInfo) -> str | None:
        forced = info.data.get("force_host") or info.data.get("force_node")
        if host is not None and forced not in (None, host):
            raise ValueError(f"{forced} or nothing, because that host is forced")
        return host

    @field_validator("build_near_host_ip")
    @classmethod
    def _check_address(cls, text: str | None) -> str | None:
        try:
            if text is not None:
                ipaddress.ip_address(text)
        except ValueError:
            raise ValueError("an IP address") from None
        return text

    @field_validator("cidr")
    @classmethod
    def _check_cidr(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None or "build_near_host_ip" not in info.data:
            return text
        address = info.data["build_near_host_ip"]
        if address is None:
            raise ValueError("nothing here without build_near_host_ip")
        most = ipaddress.ip_address(address).max_prefixlen
        if not _CIDR.fullmatch(text) or int(text.removeprefix("/")) > most:
            raise ValueError(f"a prefix length from /0 to /{most}")
        return text

    @field_validator("query", mode="before")
    @classmethod
    def _check_query(cls, value: Any) -> list[Any] | None:
        if value is None:
            return None
        query, problems = read_query(value)
        if problems:
            raise ValueError("; ".join((QUERY_RULE, *problems)))
        return query

    @property
    def forced(self) -> str | None:
        """Returns the host that is forced, by whichever word."""
        return self.force_host or self.force_node
