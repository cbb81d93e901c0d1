# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges whether a host can boot guests, by its facts. Pure: facts in, findings out, each failure with its fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from berth.ledger.rows import HostRow
from berth.placement.variables import WHERE_TO_MEND, read_variables

MIN_FREE_MIB = 2048
LOW_FREE_SHARE = 0.1
MAX_CLOCK_OFFSET_S = 5.0
CERTIFICATE_WARNING_S = 30 * 24 * 3600
REQUIRED_TOOLS = {"qemu-img": "qemu-utils", "ssh-keygen": "openssh-client"}
# libvirt's page "Remote support": ports of its transports.
TRANSPORT_PORTS = {"tls": 16514, "tcp": 16509}
# Daemons that serve one user or one program: nobody migrates to them.
LONELY_FLAVORS = ("session", "private")
PREPARE = "run `berth host prepare {host}`"
# What a module says, too, when it runs as a user whom libvirt turns away (plugins/module_utils/libvirt_conn.py).
BECOME = "ansible_become: true"


class Status(StrEnum):
    """ok: as it should be. warn: guests boot, but read this. fail: guests do not boot here."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One check of one host: what was found, what is allowed, and what to do unless it is ok.

    `mend` is who may mend it (berth.verbs.reality.Mend) and `key` names it then; empty when no program can.
    """

    host: str
    check: str
    status: Status
    found: str
    allowed: str = ""
    fix: str = ""
    key: str = ""
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """Returns the finding as JSON-ready data."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Terms:
    """What the findings are measured by.

    `networks` are the catalog's, each with name, kind and bridge. `silent` maps a host that gave no facts this time to
    its status (unreachable or failed) and message.
    """

    now_s: float
    facts_max_age_s: float
    networks: Sequence[Mapping[str, Any]] = ()
    silent: Mapping[str, tuple[str, str]] = field(default_factory=dict)


Verdict = tuple[Status, str, str, str]  # status, found, allowed, fix
Check = Callable[[HostRow, Mapping[str, Any], Terms], Verdict]


def findings(host: HostRow, terms: Terms) -> list[Finding]:
    """Returns every finding about one host. One that gave no facts has a single finding: why."""
    if host.name in terms.silent:
        return [_silent(host, *terms.silent[host.name])]
    if host.facts is None:
        fix = f"run `berth host refresh {host.name}`"
        return [Finding(host.name, "facts", Status.FAIL, "none yet", "facts of the host", fix)]
    facts = host.facts
    return [Finding(host.name, name, *_fixed(host, check(host, facts, terms))) for name, check in CHECKS.items()]


def _fixed(host: HostRow, verdict: Verdict) -> Verdict:
    status, found, allowed, fix = verdict
    return status, found, allowed, "" if status is Status.OK else fix.format(host=host.name)


def _silent(host: HostRow, status: str, message: str) -> Finding:
    if status == "unreachable":
        fix = f"is it on? try `ansible {host.name} -m ansible.builtin.ping` in the cloud's folder"
        return Finding(host.name, "ssh", Status.FAIL, message, "a login by Ansible", fix)
    fix = PREPARE.format(host=host.name)
    if BECOME in message:
        fix = f"set `{BECOME}` for it in inventory/hosts.yml: Ansible's user there is not root"
    return Finding(host.name, "libvirt", Status.FAIL, message, "an answer of libvirt", fix)


def _ssh(host: HostRow, _facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    return Status.OK, f"reached by {host.access.get('ansible_connection') or 'ssh'}", "", ""


def _state(host: HostRow, _facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    if host.quarantine:
        fix = "is it the machine you mean? then `berth host refresh --accept {host}`"
        return Status.FAIL, f"in quarantine: {host.quarantine}", "the known machine", fix
    if not host.enabled:
        reason = host.disabled_reason or "no reason given"
        return Status.WARN, f"disabled: {reason}", "enabled", "run `berth host enable {host}`"
    return Status.OK, "enabled", "", ""


def _variables(host: HostRow, _facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    _settings, mistakes = read_variables(host.variables)
    if mistakes:
        return Status.FAIL, "; ".join(mistakes), "variables that hold", f"{WHERE_TO_MEND}: nothing is placed here"
    return Status.OK, "those that placement reads hold", "", ""


def _age(host: HostRow, _facts: Mapping[str, Any], terms: Terms) -> Verdict:
    age_s = terms.now_s - (host.facts_at or 0.0)
    status = Status.FAIL if age_s > terms.facts_max_age_s else Status.OK
    allowed = f"at most {terms.facts_max_age_s:.0f} s (facts_max_age_s of berth.yml)"
    return status, f"{max(age_s, 0):.0f} s old", allowed, "run `berth host refresh {host}`"


def _libvirt(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    libvirt, qemu = _version(facts.get("libvirt_version")), _version(facts.get("qemu_version"))
    return Status.OK, f"libvirt {libvirt}, QEMU {qemu} at {facts['daemon']['uri']}", "", ""


def _kvm(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    kvm = facts["virtualization"]
    if kvm["domain_type"] == "kvm":
        return (
            (Status.OK if kvm["kvm_works"] else Status.WARN),
            kvm["reason"],
            "",
            "probe it: `berth host refresh --probe`",
        )
    fix = "turn on (nested) virtualisation in the machine's firmware, then `berth host refresh --probe {host}`"
    return Status.WARN, f"guests are EMULATED, many times slower: {kvm['reason']}", "KVM that runs guests", fix


def _instances(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    storage = facts["storage"]
    return _folder(storage["instances_path"], storage, storage.get("disk_total_mib"))


def _images(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    return _folder(facts["images"]["path"], facts["images"], None)


def _folder(path: str, folder: Mapping[str, Any], total_mib: int | None) -> Verdict:
    free_mib = folder["disk_free_mib"]
    if not folder["writable"] or free_mib is None:
        fix = f"{PREPARE}; if it was, and Ansible's user there is not root, set `{BECOME}` for it"
        return Status.FAIL, f"{path} is not there or cannot be written", "a folder that can be written", fix
    found = f"{free_mib} MiB free in {path}"
    fix = "delete guests or images that nobody needs, or give the folder more space"
    if free_mib < MIN_FREE_MIB:
        return Status.FAIL, found, f"at least {MIN_FREE_MIB} MiB", fix
    if total_mib and free_mib < LOW_FREE_SHARE * total_mib:
        return Status.WARN, f"{found}, of {total_mib}", f"at least {LOW_FREE_SHARE:.0%}", fix
    return Status.OK, found, "", ""


def _clock(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    offset_s = facts["clock_offset_s"]
    if offset_s is None:
        return Status.WARN, "not measured", "", "run `berth host refresh {host}`"
    off = abs(offset_s) > MAX_CLOCK_OFFSET_S
    found = f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} the controller" if off else "in step"
    fix = "let both keep time by NTP (chrony or systemd-timesyncd)"
    return (Status.WARN if off else Status.OK), found, f"at most {MAX_CLOCK_OFFSET_S:.0f} s", fix


def _firmware(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    kinds = [name for name in ("bios", "efi", "secure_boot") if facts["firmware"].get(name)]
    found = ", ".join(kinds) or "none"
    if not {"bios", "efi"} & set(kinds):
        return Status.FAIL, found, "bios or efi", PREPARE
    fix = "install the UEFI firmware (ovmf, edk2-ovmf) for flavors and images that ask for efi"
    return (Status.OK if "efi" in kinds else Status.WARN), found, "bios and efi", fix


def _tools(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    missing = [name for name in REQUIRED_TOOLS if not facts["tools"].get(name)]
    if missing:
        packages = ", ".join(REQUIRED_TOOLS[name] for name in missing)
        return Status.FAIL, f"missing: {', '.join(missing)}", "all of them", f"{PREPARE}, or install {packages}"
    return Status.OK, ", ".join(REQUIRED_TOOLS), "", ""


def _networks(_host: HostRow, facts: Mapping[str, Any], terms: Terms) -> Verdict:
    active = {network["name"] for network in facts["networks"] or () if network["active"]}
    bridges = set(facts["bridges"])
    missing = []
    for network in terms.networks:
        if network["kind"] in ("nat", "routed") and network["name"] not in active:
            missing.append(f"network {network['name']} is not active")
        elif network["kind"] == "bridge" and network["bridge"] not in bridges:
            missing.append(f"network {network['name']}: no bridge {network['bridge']}")
    names = ", ".join(str(network["name"]) for network in terms.networks) or "none in the catalog"
    fix = f"{PREPARE}; a bridge is yours to make. Guests on other networks boot"
    return (Status.WARN, "; ".join(missing), "the catalog's", fix) if missing else (Status.OK, names, "", "")


def _listening(_host: HostRow, facts: Mapping[str, Any], _terms: Terms) -> Verdict:
    daemon, transport = facts["daemon"], facts["migration"]["transport"]
    port = TRANSPORT_PORTS.get(transport or "")
    if daemon["flavor"] in LONELY_FLAVORS or port is None:
        return Status.OK, f"{daemon['flavor']} daemon, transport {transport}: no port needed", "", ""
    if port not in daemon["ports"]:
        fix = f"{PREPARE}; guests boot here, but none can migrate to it"
        return Status.WARN, f"nothing listens on port {port}", f"libvirt on port {port} ({transport})", fix
    return Status.OK, f"port {port} ({transport}), opened by {daemon['listen']}", "", ""


def _certificate(host: HostRow, facts: Mapping[str, Any], terms: Terms) -> Verdict:
    daemon, transport = facts["daemon"], facts["migration"]["transport"]
    end_s = facts["migration"]["certificate_not_after"]
    lonely = daemon["flavor"] in LONELY_FLAVORS
    if lonely or (end_s is None and transport != "tls" and not _migrates_by_tls(host, transport)):
        return Status.OK, f"{daemon['flavor']} daemon, transport {transport}: none needed", "", ""
    if end_s is None:
        return Status.WARN, "none", "a certificate of the fleet's CA", f"{PREPARE}; guests boot here without it"
    found = f"valid until {datetime.fromtimestamp(end_s, UTC):%Y-%m-%d}"
    left_s = end_s - terms.now_s
    status = Status.FAIL if left_s <= 0 else Status.WARN if left_s < CERTIFICATE_WARNING_S else Status.OK
    return status, found, f"{CERTIFICATE_WARNING_S // 86400} days or more", f"{PREPARE}: it renews certificates"


def _migrates_by_tls(host: HostRow, transport: str | None) -> bool:
    """Returns whether the host role makes QEMU encrypt migrations, which needs certificates beside any transport."""
    said = host.variables.get("berth_host_migrate_tls")
    return transport == "ssh" if said is None else str(said).lower() in ("true", "yes", "on", "1")


# The order is that of a boot.
CHECKS: dict[str, Check] = {
    "ssh": _ssh,
    "state": _state,
    "variables": _variables,
    "facts": _age,
    "libvirt": _libvirt,
    "kvm": _kvm,
    "instances": _instances,
    "images": _images,
    "tools": _tools,
    "firmware": _firmware,
    "networks": _networks,
    "clock": _clock,
    "listening": _listening,
    "certificate": _certificate,
}


def fleet_findings(hosts: Iterable[HostRow]) -> list[Finding]:
    """Returns what is wrong between hosts: a machine id or libvirt UUID that two of them share, as cloned images do."""
    known = [host for host in hosts if host.facts is not None]
    fix = "give each its own: remove /etc/machine-id, run systemd-machine-id-setup, restart libvirt"
    found = []
    for key, what in (("machine_id", "machine id"), ("host_uuid", "libvirt host UUID")):
        counts = Counter((host.facts or {}).get(key) for host in known)
        for host in known:
            value = (host.facts or {}).get(key)
            if value and counts[value] > 1:
                others = ", ".join(o.name for o in known if o is not host and (o.facts or {}).get(key) == value)
                found.append(
                    Finding(host.name, key, Status.FAIL, f"{what} {value}, as {others}", "one of its own", fix)
                )
    return found


def _version(number: int | None) -> str:
    """Returns libvirt's count (major*1000000 + minor*1000 + release) as it is written."""
    return "?" if number is None else f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
