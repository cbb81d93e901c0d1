# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's tables, the same on SQLite and PostgreSQL. A change here needs a migration (migrations/versions)."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    select,
    type_coerce,
)

from berth.errors import BerthError
from berth.ledger.model import GroupPolicy, Outcome, PowerState, TaskState, Verb, VmState

metadata = MetaData()

# Unique indexes with a condition, which only the migrations declare: naming a dialect's option here would import that
# dialect, 20 ms for each `berth list`. A guest's name is taken until it is gone (name_key: case does not make another
# name), and one action at a time holds a guest.
PARTIAL_INDEXES = ("guests_name_taken", "holds_taken")


class Word(TypeDecorator[StrEnum]):
    """A text column that holds one word of an enum."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Returns the word's text. Raises ValueError for a word that the enum does not have."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        """Returns the member of the enum. Raises BerthError for a word that it does not have."""
        try:
            return None if value is None else self.words(value)
        except ValueError as error:
            raise BerthError(
                f"ledger: {value!r} where a {self.words.__name__} belongs; allowed: {', '.join(self.words)}",
                hint="`berth ledger check` tells where",
            ) from error


class Names(TypeDecorator[tuple[str, ...]]):
    """A list of names, in order; a tuple in Python."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> list[str]:
        """Returns what JSON can hold."""
        return list(value or ())

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...]:
        """Returns the names."""
        return tuple(value or ())


class PlainJson(TypeDecorator[Any]):
    """What a JSON column holds, or its text where that is no JSON: SQLite stores any text."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Returns the plain value; psycopg has parsed it already."""
        if dialect.name != "sqlite" or not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


# One row per fact about the ledger as a whole, such as the digest of the inventory the hosts came from.
notes = Table(
    "notes",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text, nullable=False),
    Column("in_inventory", Boolean, nullable=False),
    Column("quarantine", Text, nullable=False),
    Column("unreachable_message", Text),
    Column("unreachable_since", Double),
    Column("machine_id", Text),
    _json("facts", nullable=True),
    Column("facts_at", Double),
    Column("groups", Names, nullable=False),
    _json("variables"),
    _json("access"),
    # Grows with every change of the claims here.
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("failure_score", Double, nullable=False, server_default="0"),
    Column("failure_at", Double),
)

aggregates = Table(
    "aggregates",
    metadata,
    Column("name", Text, primary_key=True),
    _json("metadata"),
)

guests = Table(
    "guests",
    metadata,
    Column("uuid", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("vm_state", Word(VmState), nullable=False),
    Column("task_state", Word(TaskState)),
    Column("power_state", Word(PowerState), nullable=False),
    Column("host", Text, ForeignKey("hosts.name")),
    Column("flavor", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("image_digest", Text),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_mib", Integer, nullable=False),
    Column("server_group", Text),
    Column("ssh_host_key", Text),
    Column("fault", Text),
    Column("request_id", Text, nullable=False),
    Column("action_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("launched_at", Double),
    Column("deleted_at", Double),
    _json("metadata"),
    _json("plan"),
    Column("lock_reason", Text),
    Column("locked_by", Text),
    Column("locked_at", Double),
    Index("guests_host", "host"),
)

claims = Table(
    "claims",
    metadata,
    Column("guest_uuid", Text, ForeignKey("guests.uuid"), primary_key=True),
    Column("host", Text, ForeignKey("hosts.name"), primary_key=True),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_mib", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    CheckConstraint("vcpus >= 0 AND memory_mib >= 0 AND disk_mib >= 0", name="claims_not_negative"),
    Index("claims_host", "host"),
)

addresses = Table(
    "addresses",
    metadata,
    Column("guest_uuid", Text, ForeignKey("guests.uuid"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("network", Text, nullable=False),
    Column("mac", Text, nullable=False),
    Column("address", Text),
    UniqueConstraint("mac", name="addresses_mac_taken"),
    UniqueConstraint("network", "address", name="addresses_address_taken"),
)

ports = Table(
    "ports",
    metadata,
    Column("host", Text, ForeignKey("hosts.name"), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("guest_uuid", Text, ForeignKey("guests.uuid"), nullable=False),
    Index("ports_guest", "guest_uuid"),
)

actions = Table(
    "actions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("verb", Word(Verb), nullable=False),
    Column("project", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    _json("request"),
    _json("owner"),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("error", Text),
    Column("resumed_at", Double),
)

# The guests an action works on, by name since a boot comes before its guest. Held until the action lets them go.
holds = Table(
    "holds",
    metadata,
    Column("action_id", Text, ForeignKey("actions.id"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("name_key", Text, primary_key=True),
    Column("released_at", Double),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("action_id", Text, ForeignKey("actions.id"), nullable=False),
    Column("guest_uuid", Text),
    Column("step", Text, nullable=False),
    Column("host", Text),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("outcome", Word(Outcome)),
    Column("error", Text),
    Index("steps_action", "action_id"),
    Index("steps_guest", "guest_uuid"),
)

images = Table(
    "images",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("format", Text, nullable=False),
    Column("virtual_size_bytes", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("recorded_at", Double, nullable=False),
)

image_hosts = Table(
    "image_hosts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("host", Text, ForeignKey("hosts.name"), primary_key=True),
    Column("seen_at", Double, nullable=False),
)

server_groups = Table(
    "server_groups",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("policy", Word(GroupPolicy), nullable=False),
    Column("max_server_per_host", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
)


def select_rows(table: Table, row: type[Any]) -> Select[Any]:
    """Returns a SELECT of the columns of a row class in the order of its fields: `row(*result)` builds one."""
    return select(*(table.c[name] for name in row.__dataclass_fields__))


def select_plain(table: Table) -> Select[Any]:
    """Returns a SELECT of whole rows as plain values, in the order of their keys, also of values that do not hold."""
    return select(*(_plain(column) for column in table.c)).order_by(*table.primary_key)


def _plain(column: Column[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, Names | JSON):
        return type_coerce(column, PlainJson()).label(column.key)
    return type_coerce(column, Text).label(column.key) if isinstance(column.type, Word) else column
