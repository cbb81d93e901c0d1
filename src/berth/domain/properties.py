# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hw_* and os_* properties of an image or flavor say about a guest's devices.

The names and words are OpenStack's ("Useful image properties", Glance administration guide), but for hw_disk_cache and
hw_graphics, which Nova keeps in its host's configuration. Properties that are not in the tables are placement's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from berth.errors import Problem

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")

CHOICES: Mapping[str, tuple[str, ...]] = {
    "hw_disk_bus": ("virtio", "scsi", "sata"),
    "hw_disk_cache": ("none", "writeback", "writethrough", "directsync"),
    "hw_vif_model": ("virtio", "e1000e", "e1000", "rtl8139"),
    "hw_video_model": ("none", "vga", "virtio", "bochs", "cirrus", "qxl"),
    "hw_graphics": ("none", "vnc"),
    "hw_tpm_model": ("none", "tpm-tis", "tpm-crb"),
    "hw_tpm_version": ("2.0", "1.2"),
    "hw_watchdog_action": ("disabled", "none", "reset", "poweroff", "pause"),
    "hw_rng_model": ("virtio", "none"),
    "os_secure_boot": ("disabled", "optional", "required"),
}
SWITCHES = ("hw_qemu_guest_agent", "hw_time_hpet")
COUNTS = ("hw_cpu_sockets", "hw_cpu_cores", "hw_cpu_threads")


@dataclass(frozen=True)
class Topology:
    """How the guest's virtual CPUs are laid out; their product is the number of them."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True)
class Devices:
    """The choices a domain's templates are written against; every one is a word of a closed set."""

    disk_bus: str
    disk_cache: str
    vif_model: str
    video_model: str
    graphics: str
    tpm_model: str
    tpm_version: str
    watchdog_action: str
    rng_model: str
    secure_boot: bool
    guest_agent: bool
    hpet: bool
    windows: bool
    topology: Topology | None

    @property
    def target_prefix(self) -> str:
        """Returns how libvirt names disks of the bus: vd for virtio, else sd."""
        return "vd" if self.disk_bus == "virtio" else "sd"


def property_problems(properties: Mapping[str, str], *, vcpus: int) -> list[Problem]:
    """Returns every property whose value is not one that this version can give a guest."""
    problems = []
    for name, value in sorted(properties.items()):
        text = str(value)
        if name in CHOICES and text not in CHOICES[name]:
            problems.append(Problem(name, f"found {text!r}, allowed: {', '.join(CHOICES[name])}"))
        elif name in SWITCHES and text.lower() not in _TRUE + _FALSE:
            problems.append(Problem(name, f"found {text!r}, allowed: true, false"))
        elif name in COUNTS and not (text.isascii() and text.isdigit() and int(text) > 0):
            problems.append(Problem(name, f"found {text!r}, allowed: a whole number above 0"))
    if not problems and _topology(properties, vcpus) is None and any(name in properties for name in COUNTS):
        given = ", ".join(f"{name} {properties[name]}" for name in COUNTS if name in properties)
        problems.append(Problem(given, f"does not make up {vcpus} vCPUs: sockets x cores x threads must be {vcpus}"))
    return problems


def devices_of(properties: Mapping[str, str], *, vcpus: int, disk_cache: str = "none") -> Devices:
    """Returns the devices that checked properties ask for; `disk_cache` is what the host does best.

    The defaults are a guest without a screen, USB or sound that talks over its serial console.
    """
    windows = properties.get("os_type", "").lower() == "windows"
    # Windows has no serial console worth the name: without a screen nobody could ever log in the first time.
    graphics = properties.get("hw_graphics", "vnc" if windows else "none")
    return Devices(
        disk_bus=properties.get("hw_disk_bus", "virtio"),
        disk_cache=properties.get("hw_disk_cache", disk_cache),
        vif_model=properties.get("hw_vif_model", "virtio"),
        video_model=properties.get("hw_video_model", "none" if graphics == "none" else "vga"),
        graphics=graphics,
        tpm_model=properties.get("hw_tpm_model", "none"),
        tpm_version=properties.get("hw_tpm_version", "2.0"),
        watchdog_action=properties.get("hw_watchdog_action", "disabled"),
        rng_model=properties.get("hw_rng_model", "virtio"),
        # `optional` boots without it: that is what every image can.
        secure_boot=properties.get("os_secure_boot") == "required",
        guest_agent=_switch(properties, "hw_qemu_guest_agent", default=True),
        hpet=_switch(properties, "hw_time_hpet", default=False),
        windows=windows,
        topology=_topology(properties, vcpus),
    )


def _switch(properties: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = properties.get(name)
    return default if value is None else str(value).lower() in _TRUE


def _topology(properties: Mapping[str, str], vcpus: int) -> Topology | None:
    """Returns the asked layout, the first count that is not given being what is left; None when it does not add up."""
    given = {name: int(properties[name]) for name in COUNTS if name in properties}
    if not given:
        return None
    known = 1
    for count in given.values():
        known *= count
    counts = []
    for name in COUNTS:
        if name in given:
            counts.append(given[name])
        else:
            counts.append(max(vcpus // known, 1))
            known *= counts[-1]
    sockets, cores, threads = counts
    return Topology(sockets, cores, threads) if sockets * cores * threads == vcpus else None
