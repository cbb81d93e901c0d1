# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger takes and gives: frozen rows of plain values. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from berth.ledger.model import GroupPolicy, Outcome, PowerState, TaskState, Verb, VmState
from berth.units import iso_time

Json = dict[str, Any]


def as_json(row: Any) -> Json:
    """Returns a row as a JSON-ready map, nested rows included."""
    return asdict(row)


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of what guests use of a host."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What guests use of one host, by the ledger's claims. `guests` counts claims."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    guests: int = 0


@dataclass(frozen=True, slots=True)
class Quota:
    """What a project may use in all; None is unlimited. `metadata_items` and what follows are per guest.

    The one file that a guest may bring along is its user data.
    """

    guests: int | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    server_groups: int | None = None
    metadata_items: int | None = None
    injected_files: int | None = None
    injected_file_content_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class HostUpdate:
    """What a refresh learnt of one host. `facts` is None for a host that did not answer: the old facts stay.

    `groups` are its inventory groups, `variables` its `berth_*` variables, `access` how to reach it over SSH. Of a host
    that was not `asked` these are all that was learnt.
    """

    name: str
    facts: Json | None = None
    unreachable_message: str | None = None
    groups: tuple[str, ...] = ()
    variables: Json = field(default_factory=dict)
    access: Json = field(default_factory=dict)
    asked: bool = True


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host. `facts` is docs/data.md's section 1 as collected at `facts_at` (the controller's clock).

    `quarantine` says why a host is refused until an operator accepts it: it came back with another machine id.
    `generation` grows with every change of the claims here and of what is known of the host. `failure_score` counts
    failed builds as of `failure_at`.
    """

    name: str
    enabled: bool
    disabled_reason: str
    in_inventory: bool
    quarantine: str
    unreachable_message: str | None
    unreachable_since: float | None
    machine_id: str | None
    facts: Json | None
    facts_at: float | None
    groups: tuple[str, ...]
    variables: Json
    access: Json
    generation: int = 0
    failure_score: float = 0.0
    failure_at: float | None = None

    @property
    def usable(self) -> bool:
        """Returns whether guests may be placed here as far as the ledger knows."""
        return self.enabled and self.in_inventory and not self.quarantine and self.facts is not None


@dataclass(frozen=True, slots=True)
class NewGuest:
    """A guest to record. `plan` is the guest plan (docs/data.md, section 2) as far as it is decided."""

    uuid: str
    project: str
    name: str
    flavor: str
    image: str
    resources: Resources
    server_group: str | None = None
    metadata: Json = field(default_factory=dict)
    plan: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GuestRow:
    """A guest. `deleted_at` is set once it is gone: the row stays as history."""

    uuid: str
    project: str
    name: str
    vm_state: VmState
    task_state: TaskState | None
    power_state: PowerState
    host: str | None
    flavor: str
    image: str
    image_digest: str | None
    vcpus: int
    memory_mib: int
    disk_mib: int
    server_group: str | None
    ssh_host_key: str | None
    fault: str | None
    request_id: str
    action_id: str
    created_at: float
    updated_at: float
    launched_at: float | None
    deleted_at: float | None
    metadata: Json
    plan: Json
    lock_reason: str | None = None
    locked_by: str | None = None
    locked_at: float | None = None

    @property
    def lock(self) -> str | None:
        """Returns "locked by user@host since when: why", None for a guest that is not."""
        if self.lock_reason is None:
            return None
        since = "" if self.locked_at is None else f" since {iso_time(self.locked_at)}"
        return f"locked by {self.locked_by}{since}: {self.lock_reason or 'no reason'}"


@dataclass(frozen=True, slots=True)
class Claim:
    """Resources of one guest to book on one host, refused when all claims there would exceed `limits`.

    `limits` is what guests of the ledger may use in all (capacity x ratio, less reserves and foreign domains).
    `ports` is how many TCP ports of the host the guest needs for user-mode forwards. With `generation` the claim is
    also refused when the host or its claims changed since that generation was read.
    """

    guest_uuid: str
    host: str
    resources: Resources
    limits: Resources
    ports: int = 0
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A booked claim."""

    guest_uuid: str
    host: str
    vcpus: int
    memory_mib: int
    disk_mib: int
    created_at: float


@dataclass(frozen=True, slots=True)
class AddressWish:
    """One interface of a new guest. `first` and `last` bound the range to hand out from; without them (DHCP, user mode)
    only a MAC is given. `address` and `mac` ask for a certain one. `reserved` addresses are never given.
    """

    guest_uuid: str
    position: int
    network: str
    first: str | None = None
    last: str | None = None
    reserved: tuple[str, ...] = ()
    address: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class AddressRow:
    """What one interface of a guest has."""

    guest_uuid: str
    position: int
    network: str
    mac: str
    address: str | None


@dataclass(frozen=True, slots=True)
class BootRecord:
    """Everything one boot books, in one transaction.

    `reserved_macs` are in use by domains that are not ours: from the hosts' facts. `quota` is of the guests' project.
    `group` is made unless it is there.
    """

    guests: tuple[NewGuest, ...]
    claims: tuple[Claim, ...] = ()
    addresses: tuple[AddressWish, ...] = ()
    reserved_macs: frozenset[str] = frozenset()
    quota: Quota | None = None
    group: GroupRow | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """What a boot was given: its interfaces in order, and guest uuid -> ports on its host."""

    addresses: tuple[AddressRow, ...]
    ports: Mapping[str, tuple[int, ...]]

    def of_guest(self, guest_uuid: str) -> tuple[AddressRow, ...]:
        """Returns the interfaces of one guest, by position."""
        mine = (row for row in self.addresses if row.guest_uuid == guest_uuid)
        return tuple(sorted(mine, key=lambda row: row.position))


@dataclass(frozen=True, slots=True)
class GuestResult:
    """How work on a guest ended. None leaves what is recorded; `fault` is cleared by an empty text."""

    uuid: str
    vm_state: VmState
    power_state: PowerState
    host: str | None = None
    ssh_host_key: str | None = None
    image_digest: str | None = None
    launched_at: float | None = None
    fault: str | None = None
    plan: Json | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A compare-and-set: nothing changes unless the guest is in one of `expect_vm` and one of `expect_task`.

    Empty `expect_task` means any. `power_state` None leaves it. `at` is when it was so, if not now. With `seen_on`, the
    host that showed it, the change goes into the guest's events: no verb did it.
    """

    expect_vm: frozenset[VmState]
    expect_task: frozenset[TaskState | None]
    vm_state: VmState
    task_state: TaskState | None
    power_state: PowerState | None = None
    fault: str | None = None
    at: float | None = None
    seen_on: str | None = None


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """What starts an action. `digest` is of the request's content: the same again resumes what was interrupted."""

    verb: Verb
    project: str
    names: tuple[str, ...]
    request_id: str
    digest: str = ""
    request: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One run of a verb. `attempts` counts the runs that worked on it; ended with `error` None it succeeded.

    `resumed_at` is when the last of several runs began.
    """

    id: str
    verb: Verb
    project: str
    request_id: str
    digest: str
    request: Json
    owner: Json
    attempts: int
    started_at: float
    ended_at: float | None
    error: str | None
    resumed_at: float | None = None

    @property
    def since(self) -> float:
        """Returns when the run began that works on it, or was the last to do so."""
        return self.started_at if self.resumed_at is None else self.resumed_at


@dataclass(frozen=True, slots=True)
class Begun:
    """An action that may work now. `resumed`: it was begun by a run that died; `took_over`: dead runs it replaced."""

    action: ActionRow
    resumed: bool = False
    took_over: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Returns the action's id."""
        return self.action.id


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of an action: its intent, and once `ended_at` is set its outcome."""

    action_id: str
    guest_uuid: str | None
    step: str
    host: str | None
    started_at: float
    ended_at: float | None
    outcome: Outcome | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """An action on a guest with the steps that touched it, in order."""

    action: ActionRow
    steps: tuple[StepRow, ...]


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image whose bytes are known by digest."""

    name: str
    digest: str
    format: str
    virtual_size_bytes: int
    size_bytes: int
    source: str
    recorded_at: float


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A server group."""

    project: str
    name: str
    policy: GroupPolicy
    max_server_per_host: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Member:
    """A guest of a server group and the host it has a claim on."""

    guest_uuid: str
    host: str
