# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a virtual environment that has Nova: asks Nova's own filters and weighers about fleets from stdin.

One JSON object per line in, one out. A fleet is a document as `berth simulate` reads it; a request is a map.
Replaced in Nova is only what needs its database: the cell mapping and the image metadata of guests.
"""

import contextlib
import datetime
import itertools
import json
import sys
import uuid
from unittest import mock

from nova import config, exception, objects
from nova.objects import fields  # noqa: F401 - registers the field types
from nova.pci.stats import PciDeviceStats
from nova.scheduler import filters as scheduler_filters
from nova.scheduler import host_manager, weights
from nova.scheduler.weights import image_props as image_props_weigher
from nova.virt import hardware
from oslo_utils import timeutils

CONF = config.CONF
GIB = 1024
CELL = str(uuid.uuid4())


def set_up():
    config.parse_args(["nova-peer"], configure_db=False)
    objects.register_all()
    image_props_weigher.objects.CellMapping.get_by_uuid = staticmethod(lambda context, cell: None)
    image_props_weigher.nova_context.target_cell = lambda context, cell: contextlib.nullcontext(context)


def as_uuid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def parse_cpus(text):
    return hardware.parse_cpu_spec(str(text)) if str(text) else set()


def numa_topology(host):
    if not host.get("numa_cells"):
        return None
    pins = [guest["pins"] for guest in host.get("guests", ()) if guest.get("pins")]
    held = [cell for pin in pins for cell in pin["cells"]]
    pinned = {cpu for cell in held for cpu in (*cell["cpus"].values(), *cell["blocked"])}
    pinned |= {cpu for pin in pins for cpu in pin["emulator_cpus"]}
    cells = []
    for cell in host["numa_cells"]:
        mine = [use for use in held if use["host_cell"] == cell["id"]]
        smallest = min((pool["size_kib"] for pool in cell["pages"]), default=None)
        pages = []
        for pool in cell["pages"]:
            users = [use for use in mine if (use["page_size_kib"] or smallest) == pool["size_kib"]]
            used = sum(use["memory_mib"] * 1024 // pool["size_kib"] for use in users)
            pages.append(
                objects.NUMAPagesTopology(
                    size_kb=pool["size_kib"], total=pool["total"], used=used, reserved=pool.get("reserved", 0)
                )
            )
        dedicated = parse_cpus(cell["dedicated_cpus"])
        cells.append(
            objects.NUMACell(
                id=cell["id"],
                cpuset=parse_cpus(cell["shared_cpus"]),
                pcpuset=dedicated,
                memory=cell["memory_mib"],
                cpu_usage=sum(len(use["guest_cpus"]) - len(use["cpus"]) for use in mine),
                memory_usage=sum(use["memory_mib"] for use in mine),
                pinned_cpus=pinned & dedicated,
                siblings=[parse_cpus(core) for core in cell["siblings"]],
                mempages=pages,
                socket=cell.get("socket"),
            )
        )
    return objects.NUMATopology(cells=cells)


def pci_stats(host, topology):
    taken = {a for guest in host.get("guests", ()) for a in guest.get("pins", {}).get("pci_addresses", ())}
    pools = {}
    for device in host.get("pci_devices", ()):
        if device["address"] not in taken:
            key = (device["vendor_id"], device["product_id"], device.get("numa_node"))
            pools[key] = pools.get(key, 0) + 1
    stats = objects.PciDevicePoolList(
        objects=[
            objects.PciDevicePool(
                vendor_id=vendor, product_id=product, numa_node=node, count=count, tags={"dev_type": "type-PCI"}
            )
            for (vendor, product, node), count in sorted(pools.items(), key=str)
        ]
    )
    return PciDeviceStats(topology, stats=stats)


def instance(guest):
    properties = guest.get("image_properties", {})
    found = mock.Mock(uuid=as_uuid(guest["uuid"]))
    found.image_meta = objects.ImageMeta.from_dict({"properties": dict(properties)})
    return found


def host_state(host, aggregates, now):
    state = host_manager.HostState(host["name"], host["name"], CELL)
    state.hypervisor_hostname = host["name"]
    state.host_ip = host["address"]
    state.hypervisor_type = "QEMU"
    state.hypervisor_version = host.get("hypervisor_version")
    state.cpu_info = json.dumps(host["facts"]["cpu_info"])
    state.stats = {key: value for key, value in host["facts"].items() if key not in ("cpu", "cpu_info")}
    state.supported_instances = [list(kind) for kind in host.get("supported_instances", ())]
    state.total_usable_ram_mb = host["memory_mib_total"]
    state.total_usable_disk_gb = host["disk_mib_total"] // GIB
    state.vcpus_total = host["vcpus_total"]
    state.vcpus_used = host["vcpus_used"] + host.get("reserved_host_cpus", 0)
    state.free_ram_mb = host["memory_mib_total"] - host["memory_mib_used"] - host["reserved_host_memory_mib"]
    free = host["disk_mib_total"] - host["disk_mib_used"] - host.get("reserved_host_disk_mib", 0)
    measured = host.get("disk_free_mib_measured")
    state.free_disk_mb = free if measured is None else min(free, measured)
    state.disk_mb_used = host["disk_mib_used"] + host.get("reserved_host_disk_mib", 0)
    state.cpu_allocation_ratio = host.get("cpu_allocation_ratio", 4.0)
    state.ram_allocation_ratio = host.get("ram_allocation_ratio", 1.0)
    state.disk_allocation_ratio = host.get("disk_allocation_ratio", 1.0)
    state.num_instances = len(host.get("guests", ()))
    state.num_io_ops = host.get("num_io_ops", 0)
    state.failed_builds = host.get("failed_builds", 0)
    state.metrics = objects.MonitorMetricList(
        objects=[objects.MonitorMetric(name=name, value=value) for name, value in host.get("metrics", {}).items()]
    )
    state.aggregates = [
        objects.Aggregate(name=name, metadata={**aggregates[name]}) for name in host.get("aggregates", ())
    ]
    state.instances = {as_uuid(guest["uuid"]): instance(guest) for guest in host.get("guests", ())}
    state.numa_topology = numa_topology(host)
    state.pci_stats = pci_stats(host, state.numa_topology)
    state.allocation_candidates = [{"mappings": {}}]
    age = datetime.timedelta(seconds=-host["facts_at"])
    state.service = {
        "disabled": not host.get("enabled", True),
        "disabled_reason": "",
        "forced_down": not host.get("reachable", True),
        "last_seen_up": now - age,
        "created_at": now,
        "updated_at": now,
        "host": host["name"],
        "binary": "nova-compute",
        "topic": "compute",
    }
    return state


def hints_of(request):
    hints = {}
    for key, value in request["hints"].items():
        words = value if isinstance(value, list) else [value]
        hints[key] = [as_uuid(word) for word in words] if key.endswith("_host") else words
    if "query" in request["hints"]:
        hints["query"] = [json.dumps(request["hints"]["query"])]
    return hints


def request_spec(request, aliases):
    flavor = objects.Flavor(
        name=request["flavor"],
        vcpus=request["vcpus"],
        memory_mb=request["memory_mib"],
        root_gb=request["disk_gib"],
        ephemeral_gb=0,
        swap=0,
        extra_specs=dict(request["extra_specs"]),
    )
    image = objects.ImageMeta.from_dict(
        {"id": as_uuid(request["image"]), "properties": dict(request["image_properties"])}
    )
    group = request.get("group")
    devices = [
        objects.InstancePCIRequest(
            count=int(count),
            alias_name=name,
            spec=[{key: aliases[name][key] for key in ("vendor_id", "product_id")} | {"dev_type": "type-PCI"}],
            numa_policy=request["extra_specs"].get("hw:pci_numa_affinity_policy") or aliases[name]["numa_policy"],
            request_id=str(uuid.uuid4()),
        )
        for name, _, count in (
            part.partition(":") for part in request["extra_specs"].get("pci_passthrough:alias", "").split(",") if part
        )
    ]
    return objects.RequestSpec(
        instance_uuid=as_uuid(request["uuid"]),
        project_id=request["project"],
        flavor=flavor,
        image=image,
        numa_topology=hardware.numa_get_constraints(flavor, image),
        pci_requests=objects.InstancePCIRequests(requests=devices, instance_uuid=as_uuid(request["uuid"])),
        scheduler_hints=hints_of(request),
        instance_group=group
        and objects.InstanceGroup(
            uuid=as_uuid(group["name"]),
            policy=group["policy"],
            policies=[group["policy"]],
            rules={"max_server_per_host": str(group["max_server_per_host"])},
            members=[as_uuid(member) for member in group["members"]],
            hosts=sorted(set(group["members"].values())),
        ),
        availability_zone=None,
        requested_destination=None,
        limits=objects.SchedulerLimits(),
        ignore_hosts=None,
        force_hosts=None,
        force_nodes=None,
    )


def configure(case):
    options, group = case["options"], "filter_scheduler"
    CONF.set_override("service_down_time", int(options["facts_max_age_s"]))
    for key in (
        "max_io_ops_per_host",
        "max_instances_per_host",
        "isolated_hosts",
        "restrict_isolated_hosts_to_isolated_images",
    ):
        CONF.set_override(key, options[key], group=group)
    CONF.set_override("isolated_images", [as_uuid(name) for name in options["isolated_images"]], group=group)
    pairs = {name: [f"{k}={v}" for k, v in options[name].items()] for name in options if name.endswith("_setting")}
    CONF.set_override("image_props_weight_setting", pairs["image_props_weight_setting"], group=group)
    CONF.set_override("weight_setting", pairs["metrics_weight_setting"], group="metrics")
    CONF.set_override("required", False, group="metrics")
    for key, value in case["multipliers"].items():
        if key == "metrics_weight_multiplier":
            CONF.set_override("weight_multiplier", value, group="metrics")
        else:
            CONF.set_override(key, value, group=group)


def classes(handler):
    return {kind.__name__: kind for kind in handler.get_all_classes()}


FILTER_CLASSES = {}
WEIGHER_CLASSES = {}


def verdicts(case, states, request):
    found = {}
    for name in case["filters"]:
        rule = FILTER_CLASSES[name]()
        results = []
        for state in states:
            state.allocation_candidates = [{"mappings": {}}]
            try:
                results.append(bool(rule.host_passes(state, request_spec(request, case["aliases"]))))
            except Exception as error:  # noqa: BLE001 - an error is an answer here
                results.append(f"{type(error).__name__}: {error}")
        found[name] = results
    return found


def fits_cell_by_cell(state, spec):
    """Whether the topology fits, by Nova's own judgement of one guest cell on one host cell.

    Nova's filter keeps verdicts under a cell id that it overwrites meanwhile, and a page size that it chose for
    another cell, so with two cells or more it is wrong at times. Here every pair is judged on fresh copies.
    """
    wanted, host = spec.numa_topology, state.numa_topology
    if wanted is None or host is None or len(host) < len(wanted):
        return wanted is None
    limits = objects.NUMATopologyLimits(
        cpu_allocation_ratio=state.cpu_allocation_ratio, ram_allocation_ratio=state.ram_allocation_ratio
    )
    for attempt in itertools.permutations(host.cells, len(wanted)):
        found = []
        for at, (host_cell, guest_cell) in enumerate(zip(attempt, wanted.cells, strict=True)):
            reserved = 1 if wanted.emulator_threads_isolated and at == 0 else 0
            try:
                fit = hardware._numa_fit_instance_cell(host_cell, guest_cell.obj_clone(), limits, reserved)
            except exception.MemoryPageSizeNotSupported:
                fit = None
            if fit is None:
                break
            found.append(fit)
        if len(found) == len(attempt) and state.pci_stats.support_requests(spec.pci_requests.requests, {}, found):
            return True
    return False


def scores(case, states, request):
    handler = weights.HostWeightHandler()
    spec = request_spec(request, case["aliases"])
    each = {}
    for name in case["weighers"]:
        weighed = handler.get_weighed_objects([WEIGHER_CLASSES[name]()], states, spec)
        each[name] = {entry.obj.host: entry.weight for entry in weighed}
    together = handler.get_weighed_objects([WEIGHER_CLASSES[name]() for name in case["weighers"]], states, spec)
    return {"each": each, "together": {entry.obj.host: entry.weight for entry in together}}


def has_room(state, host, request):
    """Nova's placement service, which PyPI's nova has not: used + n <= (total - reserved) * ratio, and n <= total."""
    triples = (
        ("vcpus", request["vcpus"], state.cpu_allocation_ratio, "reserved_host_cpus", state.vcpus_used),
        (
            "memory_mib",
            request["memory_mib"],
            state.ram_allocation_ratio,
            "reserved_host_memory_mib",
            host["memory_mib_total"] - state.free_ram_mb,
        ),
        ("disk_mib", request["disk_gib"] * GIB, state.disk_allocation_ratio, "reserved_host_disk_mib", None),
    )
    for what, need, ratio, reserve, used_with_reserve in triples:
        total, reserved = host[f"{what}_total"], host.get(reserve, 0)
        used = state.berth_disk_used if used_with_reserve is None else used_with_reserve - reserved
        if need > total or used + need > (total - reserved) * ratio:
            return False
    return True


def batch(case, by_name, hosts, request):
    """Places the request `count` times as Nova's scheduler would, ties by name. Returns the hosts in order."""
    handler = weights.HostWeightHandler()
    rules = [FILTER_CLASSES[name]() for name in case["batch_filters"]]
    weighers = [WEIGHER_CLASSES[name]() for name in case["weighers"]]
    for name, state in by_name.items():
        state.berth_disk_used = hosts[name]["disk_mib_used"]
    chosen = []
    for number in range(case["count"]):
        spec = request_spec({**request, "uuid": f"{request['uuid']}-{number}"}, case["aliases"])
        group = spec.instance_group
        if group is not None:
            group.members = group.members + [as_uuid(f"{request['uuid']}-{n}") for n in range(number)]
            group.hosts = sorted({*group.hosts, *chosen})
        states = [by_name[name] for name in sorted(by_name) if has_room(by_name[name], hosts[name], request)]
        for rule in rules:
            for state in states:
                state.allocation_candidates = [{"mappings": {}}]
            states = list(rule.filter_all(states, spec))
        if not states:
            return chosen
        best = handler.get_weighed_objects(weighers, states, spec)[0].obj
        best.consume_from_request(spec)
        best.berth_disk_used += request["disk_gib"] * GIB
        best.instances[spec.instance_uuid] = instance({"uuid": "", "image_properties": request["image_properties"]})
        chosen.append(best.host)
    return chosen


def answer(case):
    configure(case)
    now = timeutils.utcnow()
    fleet = case["fleet"]
    states = [host_state(host, fleet["aggregates"], now) for host in fleet["hosts"]]
    hosts = {host["name"]: host for host in fleet["hosts"]}
    return {
        "cell_by_cell": [fits_cell_by_cell(s, request_spec(case["request"], case["aliases"])) for s in states],
        "verdicts": verdicts(case, states, case["request"]),
        "scores": scores(case, states, case["request"]),
        "batch": batch(case, {state.host: state for state in states}, hosts, case["request"]),
    }


def main():
    set_up()
    FILTER_CLASSES.update(classes(scheduler_filters.HostFilterHandler()))
    WEIGHER_CLASSES.update(classes(weights.HostWeightHandler()))
    # InstanceList insists on real Instances; the weigher only reads image_meta of what it iterates.
    image_props_weigher.objects.InstanceList = mock.Mock(side_effect=lambda context, objects: InstanceListStub(objects))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


class InstanceListStub(list):
    def fill_metadata(self):
        """Nothing to fill: the image properties are there."""


if __name__ == "__main__":
    main()
