# SPDX-License-Identifier: GPL-3.0-or-later
"""Who boots guests in benchmarks/boot.py. Each one's `boot` returns seconds and leaves no guest behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

if TYPE_CHECKING:
    from lab.cluster import Lab
    from lab.host import Host

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
FOLDER = "/var/lib/berth-benchmark"
VL_POOL = "/var/lib/virt-lightning/pool"  # not to be chosen
FLAVOR = {"name": "idle", "vcpus": 1, "memory_mib": 64, "disk_gib": 1}
IMAGE = {"name": "idle", "source": "images/idle.qcow2", "format": "qcow2"}
PREFIX = "bench"
LIMIT_S = 600


class Contestant(Protocol):
    """One way to boot guests."""

    name: str
    differs: str

    def boot(self, count: int, hosts: int) -> float:
        """Boot `count` guests on the first `hosts` hosts; seconds until all run. They are gone afterwards."""


class Berth:
    """`berth boot` as a whole process, from an own cloud of the lab's hosts."""

    name = "berth"
    differs = "validates, places, claims, journals; a seed and an SSH host key per guest; checks under the host's lock"

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.berth("init", str(folder), "--public-key", f"{lab.layout.key}.pub", inside=False)
        (folder / "inventory/hosts.yml").unlink()
        lab.write_inventory(folder / "inventory/hosts.json")
        (folder / "images").mkdir()
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "images/idle.qcow2"), "64M"]
        subprocess.run(argv, check=True)
        (folder / "catalog/images.yml").write_text(yaml.safe_dump({"images": [IMAGE]}))
        (folder / "catalog/flavors.yml").write_text(yaml.safe_dump({"flavors": [FLAVOR]}))
        # Emulated guests idle, and a benchmark may promise more processors than there are.
        (folder / "inventory/group_vars/compute.yml").write_text(
            yaml.safe_dump({"berth_cpu_allocation_ratio": 64.0, "berth_reserved_host_memory_mib": 0})
        )
        self.berth("host", "prepare")
        self.berth("image", "pull", "idle")

    def berth(self, *words: str, inside: bool = True) -> str:
        """Runs one command in the cloud's folder and returns what it printed."""
        done = subprocess.run(
            [str(BIN / "berth"), *words],
            cwd=self.folder if inside else None,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        if done.returncode:
            raise SystemExit(f"berth {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def boot(self, count: int, hosts: int) -> float:
        """See Contestant. The way to the hosts is open from the command before."""
        unused = [word for host in self.lab.hosts[hosts:] for word in ("--ignore-host", host.name)]
        shape = ["--flavor", "idle", "--image", "idle", "--network", "lan", "--count", str(count), *unused]
        began = time.perf_counter()
        guests = json.loads(self.berth("boot", PREFIX, *shape, "--format", "json"))
        taken = time.perf_counter() - began
        self.berth("delete", "--yes", *[guest["uuid"] for guest in guests])
        if {guest["state"] for guest in guests} != {"active"} or len(guests) != count:
            raise SystemExit(f"berth boot: not all are active: {guests}")
        return taken

    def pattern(self) -> tuple[str, str]:
        """Returns the XML of a guest that Berth made and the path of its image."""
        guest = json.loads(self.berth("boot", PREFIX, "--flavor", "idle", "--image", "idle", "--format", "json"))[0]
        host = self.lab.host(guest["host"])
        xml = host.ssh(f"virsh dumpxml --inactive {PREFIX}").stdout
        base = host.ssh("ls /var/lib/berth/images/*.qcow2").stdout.split()[0]
        self.berth("delete", "--yes", PREFIX)
        return xml, base


class Bare:
    """libvirt-python calls on the hosts, with as many threads as Berth's module takes there: the limit."""

    name = "bare"
    differs = "calls only: no placement, ledger, check, lock or host key; connected to hosts and libvirt beforehand"

    def __init__(self, lab: Lab, berth: Berth) -> None:
        self.lab = lab
        self.xml, self.base = berth.pattern()
        for host in lab.hosts:
            put(host, "boot_bare.py", (HERE / "boot_bare.py").read_text())

    def boot(self, count: int, hosts: int) -> float:
        """See Contestant."""
        chosen = self.lab.hosts[:hosts]
        running = []
        for index, host in enumerate(chosen):
            share = count // hosts + (index < count % hosts)
            if share:
                running.append(self._start(host, share))
        for each in running:
            expect(each, "ready")
        began = time.perf_counter()
        for each in running:
            tell(each)
        for each in running:
            expect(each, "done")
        taken = time.perf_counter() - began
        for each in running:
            tell(each)
            expect(each, "removed")
            each.communicate(timeout=LIMIT_S)
        return taken

    def _start(self, host: Host, count: int) -> subprocess.Popen[str]:
        threads = len(os.sched_getaffinity(0))  # the lab's hosts have this machine's processors
        asked = {"prefix": "bare", "count": count, "threads": threads, "xml": self.xml, "base": self.base}
        text = shlex.quote(json.dumps({**asked, "folder": f"{FOLDER}/guests"}))
        argv = [*host.ssh_argv(), f"python3 {FOLDER}/boot_bare.py {text}"]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Peer:
    """A tool that runs on the first host, without a connection between."""

    until = "end"

    def __init__(self, lab: Lab, name: str, differs: str) -> None:
        self.lab, self.host, self.name, self.differs = lab, lab.hosts[0], name, differs
        put(self.host, "peer_run.py", (HERE / "boot_peer_run.py").read_text())

    def files(self, count: int) -> dict[str, str]:
        """Returns what the command reads."""
        return {}

    def command(self, count: int) -> str:
        """Returns the shell command."""
        raise NotImplementedError

    def boot(self, count: int, hosts: int) -> float:
        """See Contestant."""
        for name, text in self.files(count).items():
            put(self.host, name, text)
        argv = f"python3 {FOLDER}/peer_run.py {count} {PREFIX} {shlex.quote(self.command(count))} {self.until}"
        done = subprocess.run([*self.host.ssh_argv(), argv], capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return float(done.stdout.split()[-1])


class VirtInstall(Peer):
    """A loop of `virt-install --import`."""

    def files(self, count: int) -> dict[str, str]:
        return {"user-data": "#cloud-config\n{}\n"}

    def command(self, count: int) -> str:
        disk = (
            f"path={FOLDER}/pool/{PREFIX}-$i.qcow2,size=1,backing_store={FOLDER}/pool/idle.qcow2,backing_format=qcow2"
        )
        one = (
            f"virt-install --connect qemu:///system --name {PREFIX}-$i --memory 64 --vcpus 1 --import --virt-type qemu "
            f"--osinfo detect=off,require=off --disk {disk} --cloud-init user-data={FOLDER}/user-data "
            "--network network=lan --graphics none --noautoconsole"
        )
        return f"for i in $(seq {count}); do {one} || exit 1; done"


class Kcli(Peer):
    """`kcli create plan`."""

    def files(self, count: int) -> dict[str, str]:
        guest = {"image": "idle.qcow2", "memory": 64, "numcpus": 1, "pool": PREFIX, "nets": ["lan"], "disks": [1]}
        return {"plan.yml": yaml.safe_dump({f"{PREFIX}-{index}": guest for index in range(count)})}

    def command(self, count: int) -> str:
        call = "import sys; from kvirt.cli import cli; sys.argv[0] = 'kcli'; cli()"
        return f'PYTHONPATH={FOLDER}/kcli python3 -c "{call}" create plan -f {FOLDER}/plan.yml {PREFIX}'


class VirtLightning(Peer):
    """`virt-lightning up`."""

    until = "cut"  # it would wait for logins for ever

    def files(self, count: int) -> dict[str, str]:
        guest = {"distro": "idle", "memory": 64, "vcpus": 1, "disks": [{"size": 1}]}
        names = f"storage_pool = {PREFIX}-vl\nnetwork_name = {PREFIX}-vl\n"
        settings = f"[main]\nssh_key_file = /root/.ssh/id_ed25519.pub\n{names}"
        return {
            "vl.yml": yaml.safe_dump([{"name": f"{PREFIX}-{index}", **guest} for index in range(count)]),
            "vl.ini": settings,
        }

    def command(self, count: int) -> str:
        call = "import sys; from virt_lightning.shell import main; sys.argv[0] = 'vl'; main()"
        up = f"--config {FOLDER}/vl.ini up --virt-lightning-yaml {FOLDER}/vl.yml"
        return f'PYTHONPATH={FOLDER}/vl python3 -c "{call}" {up}'


def installed_peers(lab: Lab, folder: Path) -> list[Contestant]:
    """Returns the peers that are there: environments in the folder, virt-install on the first host."""
    host = lab.hosts[0]
    prepare_pool(host)
    peers: list[Contestant] = []
    if host.ssh("command -v virt-install", check=False).returncode == 0:
        peers.append(VirtInstall(lab, "virt-install", "one process per guest; no SSH host key; nothing is recorded"))
    for kind, name, differs in (
        (Kcli, "kcli", "one after the other; a seed, no SSH host key known beforehand; nothing is recorded"),
        (
            VirtLightning,
            "vl",
            "ten threads; cut off when all run, where it waits for a login; DHCP and DNS entries",
        ),
    ):
        found = sorted((folder / name).glob("lib/python3*/site-packages"))
        if found:
            copy(host, found[0], name)
            peers.append(kind(lab, name, differs))
    return peers


def prepare_pool(host: Host) -> None:
    """Makes the peers' storage pool with the empty image, for both layouts."""
    images = f"{FOLDER}/pool {VL_POOL}/upstream"
    pools = {PREFIX: f"{FOLDER}/pool", f"{PREFIX}-vl": VL_POOL}
    define = "; ".join(f"virsh -q pool-define-as {name} dir --target {path}" for name, path in pools.items())
    host.ssh(
        f"mkdir -p {images}; chmod 711 {FOLDER}; "
        f"for d in {images}; do qemu-img create -q -f qcow2 $d/idle.qcow2 64M; done; "
        f"({define}) >/dev/null 2>&1; "
        f"for p in {PREFIX} {PREFIX}-vl; do virsh -q pool-start $p >/dev/null 2>&1; virsh -q pool-refresh $p; done; "
        "[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519"
    )


def put(host: Host, name: str, text: str) -> None:
    """Writes a file below FOLDER on a host."""
    write = f"mkdir -p {FOLDER} && cat >{FOLDER}/{name}"
    subprocess.run([*host.ssh_argv(), write], input=text, text=True, check=True, timeout=60)


def copy(host: Host, folder: Path, name: str) -> None:
    """Copies a folder below FOLDER on a host."""
    pack = subprocess.Popen(["tar", "-c", "-C", str(folder), "--exclude=__pycache__", "."], stdout=subprocess.PIPE)
    unpack = f"mkdir -p {FOLDER}/{name} && tar -x -C {FOLDER}/{name}"
    subprocess.run([*host.ssh_argv(), unpack], stdin=pack.stdout, check=True, timeout=300)
    if pack.wait():
        raise SystemExit(f"{folder}: cannot be copied")


def tell(process: subprocess.Popen[str]) -> None:
    """Sends one line."""
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Waits for one line."""
    assert process.stdout
    line = process.stdout.readline().strip()
    if line != word:
        raise SystemExit(f"bare: {line or 'ended'} instead of {word}")
