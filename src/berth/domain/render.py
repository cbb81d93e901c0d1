# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain XML from a guest plan: Jinja2 with XML autoescape, parsed after rendering."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined

from berth.domain import naming, record, slirp
from berth.domain.check import check_plan
from berth.domain.model import ImageOnHost
from berth.domain.pins import pinned
from berth.domain.properties import Devices, devices_of
from berth.errors import BerthError
from berth.units import bytes_to_gib_ceil

TEMPLATE = "domain.xml.j2"
_ROOT_BUSES = {"pc": "pci.0"}


def environment() -> Environment:
    """Returns the template environment: everything is escaped, and a name that is not there is an error."""
    return Environment(
        loader=PackageLoader("berth.domain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render_domain(plan: Mapping[str, Any], *, image: ImageOnHost, domain_type: str, disk_cache: str = "none") -> str:
    """Returns the libvirt domain XML of one guest plan (docs/data.md, sections 2 and 3).

    `domain_type` is kvm or qemu: what the host runs, never `auto`. `disk_cache` is the default where no property says
    otherwise. Raises InvalidInput with every value that must not get into XML or onto a host's file system.
    """
    check_plan(plan)
    values = template_values(plan, image=image, domain_type=domain_type, disk_cache=disk_cache)
    return render_values(values, _environment())


def template_values(
    plan: Mapping[str, Any], *, image: ImageOnHost, domain_type: str, disk_cache: str
) -> dict[str, Any]:
    """Returns what the templates see. Every decision is made here; the templates only write it down."""
    devices = devices_of(plan.get("properties") or {}, vcpus=plan["vcpus"], disk_cache=disk_cache)
    disks = disks_of(plan, image)
    seed_path = seed_path_of(plan)
    networks = list(plan["networks"])
    forwarded = [network for network in networks if slirp.is_forwarded(network)]
    bus = _ROOT_BUSES.get(plan["machine"], "pcie.0")
    return {
        "plan": plan,
        "domain_type": domain_type,
        "devices": devices,
        "pinned": pinned(plan),
        "disks": [
            {**disk, "target": _target(devices, index), "boot_order": index + 1} for index, disk in enumerate(disks)
        ],
        "seed_path": seed_path,
        "seed_target": _target(devices, len(disks)),
        "nvram_path": f"{plan['instance_dir']}/{naming.NVRAM}",
        "interfaces": [
            {**network, "subnet": slirp.subnet_of(network)} for network in networks if network not in forwarded
        ],
        "qemu_arguments": [
            argument
            for index, network in enumerate(forwarded)
            for argument in slirp.arguments(network, index=index, vif_model=devices.vif_model, root_bus=bus)
        ],
        "is_x86": plan["architecture"] == "x86_64",
        "record_namespace": record.NAMESPACE,
        "record": record.record_text(record.guest_record(plan, image=image, disks=disks, seed_path=seed_path)),
    }


def render_values(values: Mapping[str, Any], templates: Environment) -> str:
    """Returns the XML of the values. Raises BerthError when it is not one domain element: a mistake in a template."""
    text = templates.get_template(TEMPLATE).render(**values)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  our own output, which has no entities
    except ElementTree.ParseError as error:
        raise BerthError(f"the domain XML of {values['plan']['name']!r} is not well formed: {error}") from error
    if root.tag != "domain" or root.findtext("name") != values["plan"]["domain_name"]:
        raise BerthError(f"the domain XML of {values['plan']['name']!r} is of something else")
    return text


def disks_of(plan: Mapping[str, Any], image: ImageOnHost) -> list[dict[str, Any]]:
    """Returns the guest's disks as docs/data.md, section 2, has them; a size of 0 becomes the image's, rounded up."""
    size_gib = plan["disk_gib"] or bytes_to_gib_ceil(image.virtual_size_bytes)
    backing = {"path": image.path, "format": image.format}
    path = f"{plan['instance_dir']}/{naming.ROOT_DISK}"
    return [{"path": path, "format": "qcow2", "size_gib": size_gib, "backing": backing}]


def seed_path_of(plan: Mapping[str, Any]) -> str:
    """Returns where the guest's seed is on its host."""
    return f"{plan['instance_dir']}/{naming.SEED}"


def _target(devices: Devices, index: int) -> str:
    return devices.target_prefix + ascii_lowercase[index]


@functools.cache
def _environment() -> Environment:
    return environment()
