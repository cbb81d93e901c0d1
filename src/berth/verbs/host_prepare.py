# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalog asks of every host, what the ledger knows of the others, and which hosts are ready."""

from __future__ import annotations

from berth.errors import InvalidInput, NotFound
from berth.ledger.store import Ledger
from berth.spec.load import load_catalog
from berth.spec.network import Assignment, Network, NetworkKind
from berth.verbs.call import Call, Outcome
from berth.verbs.host_refresh import check_inventory

# What playbooks/host_prepare.yml sets on a host that came to the end of the role.
READY = "berth_host_ready"
MADE_BY_THE_HOST = (NetworkKind.NAT, NetworkKind.ROUTED)


def begin(call: Call) -> Outcome:
    """Returns `cloud` (its directory), `networks`: those that libvirt makes, as `berth.kvm.network` takes them, and
    `machines`: host of the inventory -> the machine id that it showed last.

    The request's `hosts` are names and patterns; without them all hosts are meant. Raises InvalidInput with every
    mistake of the inventory or the catalog, or when it lists no host; NotFound for hosts that the inventory lacks.
    """
    check_inventory(call.inventory, call.request.get("hosts") or ())
    if not call.inventory["compute"]:
        raise InvalidInput(
            "the inventory lists no compute hosts", hint="list your hosts under `compute` in inventory/hosts.yml"
        )
    catalog = load_catalog(call.cloud.catalog_path)
    made = [each for each in catalog.networks.values() if each.kind in MADE_BY_THE_HOST]
    return {
        "changed": False,
        "cloud": str(call.cloud.path),
        "networks": [_definition(each) for each in made],
        "machines": _machines(call),
    }


def _machines(call: Call) -> dict[str, str]:
    try:
        with Ledger.open(call.cloud.ledger_url, create=False) as ledger:
            rows = ledger.hosts()
    except NotFound:  # no host was ever refreshed
        return {}
    shown = {row.name: (row.facts or {}).get("machine_id") or row.machine_id for row in rows}
    return {name: str(shown[name]) for name in call.inventory["compute"] if shown.get(name)}


def finish(call: Call) -> Outcome:
    """Returns `prepared`: the names of the hosts that are."""
    return {"changed": False, "prepared": [name for name, said in call.results.items() if said.get(READY)]}


def _definition(network: Network) -> dict[str, object]:
    """Returns the network as plain data; `dhcp` is null where the ledger hands the addresses out."""
    serves = network.assignment is Assignment.DHCP and network.range is not None
    return {
        "name": network.name,
        "kind": str(network.kind),
        "cidr": network.cidr,
        "gateway": network.gateway,
        "dns": list(network.dns or ()),
        "dhcp": {"first": network.range.first, "last": network.range.last} if serves and network.range else None,
        "bridge": network.bridge,
        "mtu": network.mtu,
    }
