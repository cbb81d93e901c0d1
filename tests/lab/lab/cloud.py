# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud on the lab's hosts, used as a user would: through the commands, from its folder."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from berth.cli.ssh import wait_for_guests
from berth.cloud import find_cloud
from berth.ledger.store import Ledger
from berth.verbs.guest_view import guest_details, guest_view
from lab.cluster import Lab
from lab.host import Host
from lab.leftovers import Snapshot, difference, snapshot
from lab.shell import wait_for

BIN = Path(sys.executable).parent
CALLBACKS = Path(__file__).parents[1] / "callbacks"
# One round of everything takes seconds; an emulated machine that is busy may take many times that.
COMMAND_S = 300
JUMP_ENDS_S = 5
# The tables that say what is taken now. Guests that are gone, actions and steps are history and stay.
TAKEN = {
    "guests": "SELECT project, name, host FROM guests WHERE deleted_at IS NULL",
    "claims": "SELECT guest_uuid, host FROM claims",
    "addresses": "SELECT guest_uuid, network, address FROM addresses",
    "ports": "SELECT host, port FROM ports",
    "holds": "SELECT project, name_key FROM holds WHERE released_at IS NULL",
    "open actions": "SELECT id FROM actions WHERE ended_at IS NULL",
    "open steps": "SELECT id FROM steps WHERE ended_at IS NULL",
}
# What libvirt keeps of its own: of a guest that ran when its host lost power, and the folder of the first autostart.
LIBVIRTS = (
    "/var/lib/libvirt/qemu/domain-",
    "/var/lib/libvirt/qemu/channel/target/domain-",
    "/etc/libvirt/qemu/autostart drwx",
    "/var/lib/libvirt/dnsmasq/virbr",
)


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit status and texts."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The answer of a command that was asked for JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a command that was asked for JSON: it is the last thing on standard error."""
        found: dict[str, Any] = json.loads(self.err[self.err.index("\n{") if "\n{" in self.err else 0 :])
        return found


@dataclass(frozen=True)
class Inventory:
    """What a cloud takes: hosts, ledger and processes. Two of them are equal when nothing was left."""

    hosts: tuple[Snapshot, ...]
    rows: dict[str, list[tuple[Any, ...]]]
    local: tuple[str, ...]

    def lines(self, after: "Inventory") -> list[str]:
        """What came and what went, one line each."""
        found = [
            line for old, new in zip(self.hosts, after.hosts, strict=True) for line in difference(old, new).splitlines()
        ]
        for table, rows in after.rows.items():
            found += [f"ledger {table}: + {row}" for row in rows if row not in self.rows[table]]
            found += [f"ledger {table}: - {row}" for row in self.rows[table] if row not in rows]
        return found + [f"controller: + {line}" for line in after.local if line not in self.local]


class LabCloud:
    """A cloud in a folder; every command runs there, with a temporary folder and a mark of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.identity = lab.layout.key
        self.mark = f"BERTH_LAB_MARK={uuid.uuid4()}"
        self.scratch = folder.with_name(f"{folder.name}-tmp")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        folder.mkdir(exist_ok=True)

    # --- commands ---------------------------------------------------------------------------------------------------
    def berth(self, *words: str, status: int | None = 0, timeout_s: float = COMMAND_S) -> Answer:
        """Run `berth WORDS` in the cloud's folder. Fails unless it ends with `status` (None: any) and no traceback."""
        return self.run([str(BIN / "berth"), *words], status=status, timeout_s=timeout_s)

    def json(self, *words: str, status: int | None = 0, timeout_s: float = COMMAND_S) -> Any:
        """The answer of `berth WORDS --format json`."""
        return self.berth(*words, "--format", "json", status=status, timeout_s=timeout_s).data

    def refused(self, *words: str, status: int, timeout_s: float = COMMAND_S) -> dict[str, Any]:
        """The error of `berth WORDS --format json`."""
        return self.berth(*words, "--format", "json", status=status, timeout_s=timeout_s).error

    def ssh(self, name: str, command: str, status: int | None = 0) -> str:
        """What a command prints in a guest, reached by `berth ssh`."""
        return self.berth("ssh", "--identity", str(self.identity), name, command, status=status).out

    def wait(self, *names: str, timeout_s: float = 600) -> None:
        """Wait for a login to each of these guests."""
        wait_for_guests(find_cloud(self.folder), names, timeout_s=timeout_s, identity=self.identity)

    def run(
        self,
        argv: Sequence[str],
        *,
        status: int | None = 0,
        timeout_s: float = COMMAND_S,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run a command in the cloud's folder."""
        with self.start(argv, environment=environment) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        answer = Answer(process.returncode, out, err)
        assert "Traceback" not in out + err, out + err
        assert status is None or answer.status == status, f"{argv}: {answer.status}\n{out}{err}"
        return answer

    def start(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command in the cloud's folder and return at once."""
        key, _, value = self.mark.partition("=")
        given = {"PATH": f"{BIN}:{os.environ['PATH']}", "TMPDIR": str(self.scratch), key: value, **(environment or {})}
        return subprocess.Popen(
            argv,
            cwd=self.folder,
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def playbook(self, name: str, *options: str, status: int | None = 0) -> list[dict[str, Any]]:
        """Run `ansible-playbook berth.kvm.NAME`; what every task did on every host, in order, and the rest as text."""
        record = self.scratch / "tasks.jsonl"
        environment = {
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "record_tasks",
            "RECORD_TASKS": str(record),
        }
        argv = [str(BIN / "ansible-playbook"), f"berth.kvm.{name}", *options]
        self.run(argv, status=status, environment=environment)
        lines = record.read_text().splitlines()
        record.unlink()
        return [json.loads(line) for line in lines]

    # --- content ----------------------------------------------------------------------------------------------------
    def guest(self, name: str) -> dict[str, Any]:
        """A guest as `berth show` has it, without a process."""
        with self.ledger() as ledger:
            return guest_details(ledger.guest("default", name))

    def guests(self) -> dict[str, dict[str, Any]]:
        """Name to guest, as `berth list` has them, without a process."""
        with self.ledger() as ledger:
            return {row.name: guest_view(row) for row in ledger.guests()}

    def ledger(self) -> Ledger:
        """The cloud's ledger, to be closed."""
        return Ledger.open(find_cloud(self.folder).ledger_url)

    def host_of(self, name: str) -> Host:
        """The lab host that a guest is on."""
        return self.lab.host(self.guest(name)["host"])

    def add(self, kind: str, entry: Mapping[str, Any]) -> None:
        """Put an entry into the catalog, in place of one of that name."""
        path = self.folder / "catalog" / f"{kind}.yml"
        entries = [each for each in yaml.safe_load(path.read_text())[kind] if each["name"] != entry["name"]]
        path.write_text(yaml.safe_dump({kind: [*entries, dict(entry)]}))

    def remove(self, kind: str, *names: str) -> None:
        """Take entries out of the catalog."""
        path = self.folder / "catalog" / f"{kind}.yml"
        entries = [each for each in yaml.safe_load(path.read_text())[kind] if each["name"] not in names]
        path.write_text(yaml.safe_dump({kind: entries}))

    def inventory(self) -> Inventory:
        """What there is now on the hosts, in the ledger and on this machine."""
        return Inventory(tuple(snapshot(host) for host in self.lab.hosts), self.taken(), tuple(self.local()))

    @contextmanager
    def unchanged(self) -> Iterator[Inventory]:
        """The body leaves hosts, ledger and this machine as they were, but for what libvirt keeps of its own."""
        self.delete_all()
        before = self.inventory()
        yield before
        self.delete_all()
        left = before.lines(self.inventory())
        assert [line for line in left if not any(path in line for path in LIBVIRTS)] == []

    @contextmanager
    def without_power(self, host: Host) -> Iterator[None]:
        """The host is without power during the body, and up again after it."""
        host.power_cut()
        try:
            yield
        finally:
            self.lab.power_on(host.name)

    @contextmanager
    def silent(self, host: Host) -> Iterator[None]:
        """The host cannot be reached during the body; it goes on, and its guests with it."""
        host.unplug()
        try:
            yield
        finally:
            host.plug_in()

    def delete_all(self) -> None:
        """Delete every guest there is."""
        names = list(self.guests())
        if names:
            self.berth("delete", "--yes", *names)

    def taken(self) -> dict[str, list[tuple[Any, ...]]]:
        """What the ledger has given out or holds open now, by table."""
        with sqlite3.connect(f"file:{self.folder}/ledger.sqlite?mode=ro", uri=True) as database:
            found = {table: sorted(database.execute(query)) for table, query in TAKEN.items()}
        database.close()
        return found

    def local(self) -> list[str]:
        """Files in our temporary folder, and processes that carry our mark.

        A connection to a guest that ssh keeps (ControlPersist) has a jump, and it ends with it: such ones go first.
        """
        if jumps := self._jumps():
            for pid in masters_of(jumps):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not self._jumps(), JUMP_ENDS_S)
        return [str(path) for path in self.scratch.iterdir()] + list(self._processes().values())

    def _jumps(self) -> list[int]:
        return [pid for pid, line in self._processes().items() if " -W " in line]

    def _processes(self) -> dict[int, str]:
        """The processes that carry our mark: id to command line. Kept connections do not: ssh writes over it."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = command_line(folder)
        return found


def command_line(folder: Path) -> str:
    """The words of a process, by its folder below /proc."""
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # it has ended
        return ""


def pipes(folder: Path) -> set[str]:
    """The pipes that a process has open, by its folder below /proc."""
    found = set()
    for link in (folder / "fd").glob("*"):
        with suppress(OSError):
            found.add(str(link.readlink()))
    return {name for name in found if name.startswith("pipe:")}


def masters_of(jumps: Sequence[int]) -> list[int]:
    """The kept connections that these jumps carry. A jump is not the child of one: only their pipes join the two."""
    ends = set[str]().union(*(pipes(Path(f"/proc/{pid}")) for pid in jumps))
    kept = [folder for folder in Path("/proc").glob("[0-9]*") if ends and "[mux]" in command_line(folder)]
    return [int(folder.name) for folder in kept if ends & pipes(folder)]
