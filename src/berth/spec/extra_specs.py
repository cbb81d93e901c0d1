# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys extra specs may have: those that Berth reads. What only Nova reads is told from what nobody does.

Nova's API refuses an unknown key of a scope that it knows. Scopes that neither knows are the plug-ins' own. Source:
nova/api/validation/extra_specs and nova/virt/hardware.py, release 34.0.0; os_resource_classes 1.1.0.
"""

from __future__ import annotations

import difflib
import re

from berth.spec.suggest import nearest

LISTED = "the extra specs of docs/placement.md"

# By scope; N stands for a number.
READ = {
    "hw": (
        "cpu_policy",
        "cpu_thread_policy",
        "cpu_dedicated_mask",
        "cpu_realtime",
        "cpu_realtime_mask",
        "emulator_threads_policy",
        "maxphysaddr_bits",
        "mem_page_size",
        "numa_nodes",
        "numa_cpus.N",
        "numa_mem.N",
        "pci_numa_affinity_policy",
    ),
    "resources": ("VCPU", "PCPU", "MEMORY_MB", "DISK_GB"),
    "pci_passthrough": ("alias",),
}
_NOVAS = {
    "hw": frozenset(
        "boot_menu cpu_cores cpu_max_cores cpu_max_sockets cpu_max_threads cpu_sockets cpu_threads "
        "ephemeral_encryption ephemeral_encryption_format hide_hypervisor_id locked_memory maxphysaddr_mode "
        "mem_encryption mem_encryption_model pmem pmu redirected_usb_ports serial_port_count sound_model "
        "tpm_model tpm_secret_security tpm_version usb_model vif_multiqueue_enabled viommu_model "
        "virtio_packed_ring watchdog_action".split()
    ),
    "resources": frozenset(
        "FPGA IPV4_ADDRESS MEM_ENCRYPTION_CONTEXT NET_BW_EGR_KILOBIT_PER_SEC NET_BW_IGR_KILOBIT_PER_SEC "
        "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC "
        "NET_PACKET_RATE_KILOPACKET_PER_SEC NUMA_CORE NUMA_MEMORY_MB NUMA_SOCKET NUMA_THREAD PCI_DEVICE PGPU "
        "SRIOV_NET_VF VGPU VGPU_DISPLAY_HEAD".split()
    ),
}
_NOVAS_SCOPES = ("accel", "hw_rng", "hw_video", "os", "quota", "vmware")
_SCOPES = (*READ, "trait", "capabilities", "aggregate_instance_extra_specs")
_NUMBER = re.compile(r"\.(0|[1-9][0-9]{0,3})$")
_GROUP = re.compile(r"(resources|trait)[A-Za-z0-9_-]{1,64}")
_CUSTOM = "CUSTOM_"
_NEAR = 0.8  # a plug-in's scope is further away from ours than a slip of the finger


def allowed_instead(key: str) -> str | None:
    """Returns what is allowed in the place of a key that nothing reads, None for a key that may be there."""
    scope, colon, name = key.partition(":")
    if not colon or _NUMBER.sub(".N", name) in READ.get(scope, ()):
        return None
    why = _why_not(key, scope, name)
    return why and f"{LISTED}; {why}"


def _why_not(key: str, scope: str, name: str) -> str | None:
    custom = scope == "resources" and name.startswith(_CUSTOM)
    if custom or name in _NOVAS.get(scope, ()) or scope in _NOVAS_SCOPES:
        return f"Nova knows {key}, Berth does not implement it"
    if scope in READ:
        meant = nearest(_NUMBER.sub(".N", name), READ[scope])
        known = ", ".join(f"{scope}:{each}" for each in sorted(READ[scope]))
        return f"did you mean {scope}:{meant}?" if meant else f"known: {known}"
    if scope in _SCOPES:
        return None
    if _GROUP.fullmatch(scope):
        return f"Nova knows groups such as {scope}, Berth does not implement them"
    near = difflib.get_close_matches(scope.casefold(), _SCOPES, n=1, cutoff=_NEAR)
    return f"did you mean {near[0]}:{name}?" if near else None
