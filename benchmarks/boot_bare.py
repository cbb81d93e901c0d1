# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host (standard library and libvirt's binding only): the same guests with bare calls, the limit.

    python3 boot_bare.py '{"prefix": ..., "count": ..., "threads": ..., "xml": ..., "base": ..., "folder": ...}'

Per guest an overlay, a seed, define and start: nothing is checked, locked, recorded or undone; no host key is made.
Prints `ready` when it has connected, waits for a line, works, prints `done`; waits for another line and removes all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import libvirt

QUIET = subprocess.DEVNULL
SEED = {
    "meta-data": "instance-id: {name}\nlocal-hostname: {name}\n",
    "user-data": "#cloud-config\n{{}}\n",
    "network-config": "version: 2\nethernets: {{}}\n",
}


def make(asked, index):
    """One guest from the pattern of another."""
    name = f"{asked['prefix']}-{index}"
    folder = os.path.join(asked["folder"], name)  # noqa: PTH118
    os.makedirs(folder, mode=0o711)  # noqa: PTH103
    disk, seed = folder + "/disk.qcow2", folder + "/seed.iso"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", asked["base"], "-F", "qcow2", disk, "1G"]
    subprocess.run(argv, check=True)
    for file, text in SEED.items():
        with open(folder + "/" + file, "w") as out:  # noqa: PTH123
            out.write(text.format(name=name))
    files = [folder + "/" + file for file in SEED]
    subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-J", "-R", "-o", seed, *files], check=True, stderr=QUIET)
    CONNECTION.defineXML(definition(asked["xml"], name, folder)).create()


def definition(pattern, name, folder):
    """The pattern's XML with another identity and other files."""
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in os.urandom(3))
    xml = re.sub(r"<metadata>.*?</metadata>", "", pattern, flags=re.S)
    xml = re.sub(r"<name>.*?</name>", f"<name>{name}</name>", xml)
    xml = re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid4()}</uuid>", xml)
    xml = re.sub(r"<mac address='[^']*'/>", f"<mac address='{mac}'/>", xml)
    xml = re.sub(r"'[^']*/disk\.qcow2'", f"'{folder}/disk.qcow2'", xml)
    xml = re.sub(r"'[^']*/seed\.iso'", f"'{folder}/seed.iso'", xml)
    return re.sub(r"'[^']*/consoles/[^']*'", f"'{folder}/console.log'", xml)


def remove(asked):
    """Everything that `make` made."""
    for domain in CONNECTION.listAllDomains():
        if domain.name().startswith(asked["prefix"] + "-"):
            domain.destroy()
            domain.undefine()
    shutil.rmtree(asked["folder"])


def main():
    """Wait, work, wait, remove."""
    asked = json.loads(sys.argv[1])
    os.makedirs(asked["folder"], mode=0o711)  # noqa: PTH103
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with ThreadPoolExecutor(asked["threads"]) as pool:
            list(pool.map(lambda index: make(asked, index), range(asked["count"])))
        print("done", flush=True)
        sys.stdin.readline()
    finally:
        remove(asked)
    print("removed", flush=True)


CONNECTION = libvirt.open("qemu:///system")
if __name__ == "__main__":
    main()
