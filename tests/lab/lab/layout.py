# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab keeps its things: addresses, device names and folders, all derived from a name and a slot."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.shell import LabError

PREFIX = "10.77"  # the /16 that all labs of a machine share
SLOTS = 10
DEFAULT_DIR = "/var/tmp/berth-lab"
MAX_HOSTS = 64


@dataclass(frozen=True)
class Layout:
    """One lab's names. Slot k owns 10.77.(2k).0/24 (management) and 10.77.(2k+1).0/24 (data)."""

    base: Path
    name: str
    slot: int

    @property
    def dir(self) -> Path:
        """Everything of this lab alone; the caches next to it are shared by all labs."""
        return self.base / "labs" / self.name

    @property
    def hosts_dir(self) -> Path:
        """One folder per host that exists, running or not."""
        return self.dir / "hosts"

    @property
    def shared(self) -> Path:
        """The folder that every host of this lab sees as /srv/shared."""
        return self.dir / "shared"

    @property
    def ssh_config(self) -> Path:
        """A client configuration that knows every host's name, address, key and user."""
        return self.dir / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The host keys, written when the hosts were made."""
        return self.dir / "known_hosts"

    @property
    def debs(self) -> Path:
        """The .deb cache of the archive proxy."""
        return self.base / "debs"

    @property
    def key(self) -> Path:
        """The private key that opens every lab host and nothing else."""
        return self.base / "id_ed25519"

    @property
    def bridges(self) -> tuple[str, str]:
        """Management and data bridge; interface names have at most 15 characters."""
        return f"berthlab{self.slot}m", f"berthlab{self.slot}d"

    @property
    def gateways(self) -> tuple[str, str]:
        """This machine's address on each of the two bridges."""
        return f"{PREFIX}.{2 * self.slot}.1", f"{PREFIX}.{2 * self.slot + 1}.1"

    @property
    def proxy_port(self) -> int:
        """Port of the archive proxy on the management gateway."""
        return 3142

    @property
    def archive_url(self) -> str:
        """Where hosts find the Debian archive."""
        return f"http://{self.gateways[0]}:{self.proxy_port}"

    def address(self, index: int) -> str:
        """Management address of host `index` (1 to MAX_HOSTS)."""
        return f"{PREFIX}.{2 * self.slot}.{10 + index}"

    def machine(self, host: str) -> str:
        """Name of the host's container and cgroup on this machine."""
        return f"berthlab{self.slot}-{host}"

    def data_link(self, host: str) -> str:
        """Name of the outer end of the host's data interface."""
        return f"bl{self.slot}d-{host}"


def from_environment(environ: Mapping[str, str] = os.environ) -> Layout:
    """The lab that LAB_DIR, LAB_NAME and LAB_SLOT name. A lab that is up keeps the slot it has.

    Raises LabError for a name or slot that cannot be, or a slot that another lab holds.
    """
    base = base_dir(environ)
    name = environ.get("LAB_NAME") or "main"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise LabError(f"LAB_NAME {name!r}: a lower-case letter, then letters, digits or '-', at most 31 in all")
    text = environ.get("LAB_SLOT") or "0"
    if not re.fullmatch(r"[0-9]", text):
        raise LabError(f"LAB_SLOT {text!r}: one digit, 0 to {SLOTS - 1}")
    slot = int(text)
    taken = recorded_slots(base)
    if taken.get(name, slot) != slot:
        raise LabError(f"lab {name} is in slot {taken[name]}, not {slot}: set LAB_SLOT={taken[name]}")
    holder = next((other for other, its in taken.items() if its == slot and other != name), None)
    if holder:
        raise LabError(f"slot {slot} belongs to lab {holder}: set LAB_NAME={holder}, or take another LAB_SLOT")
    return Layout(base, name, slot)


def base_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of all labs and caches. An ordinary user, who can only build images, gets one of their own."""
    if environ.get("LAB_DIR"):
        return Path(environ["LAB_DIR"])
    if os.geteuid() == 0:
        return Path(DEFAULT_DIR)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "berth-lab"


def recorded_slots(base: Path) -> dict[str, int]:
    """Lab name to slot, of every lab that was brought up and not taken down."""
    return {file.parent.name: int(file.read_text()) for file in base.glob("labs/*/slot")}
