# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: network
short_description: Keeps the libvirt networks of a host
description:
  - Defines networks, starts them and lets them start with their daemon.
  - Networks are compared by what Berth writes; what libvirt fills in (UUID, MAC, bridge names it chose) does not count.
  - A network of the same name that Berth did not make is used when it is as wanted, and refused otherwise.
  - A network that running guests use is defined anew but not restarted; the module then warns.
  - Networks that are not in the list are left alone.
options:
  networks:
    description: The networks.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The network's name.
        type: str
        required: true
      kind:
        description:
          - V(nat) hides the guests behind the host's address.
          - V(routed) expects that others route to the network.
        type: str
        choices: [nat, routed]
        required: true
      cidr:
        description: The network, for example V(192.168.150.0/24).
        type: str
        required: true
      gateway:
        description: The host's own address in it.
        type: str
        required: true
      dns:
        description:
          - The DNS servers that guests get. The host answers names only when its own address is among them.
        type: list
        elements: str
        default: []
      dhcp:
        description: The addresses to hand out. Without it the network has no DHCP.
        type: dict
        suboptions:
          first:
            description: The first address.
            type: str
            required: true
          last:
            description: The last address.
            type: str
            required: true
      bridge:
        description: Name of the bridge to make. Without it libvirt chooses one.
        type: str
      mtu:
        description: MTU of the bridge.
        type: int
  uri:
    description: The libvirt connection.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    support: full
    description: Says what would be done; changes nothing.
  diff_mode:
    support: full
    description: Shows the properties of each network before and after.
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: A NAT network with addresses from the ledger, and a routed one with DHCP
  berth.kvm.network:
    networks:
      - name: lan
        kind: nat
        cidr: 192.168.150.0/24
        gateway: 192.168.150.1
        dns: [192.168.150.1]
      - name: lab
        kind: routed
        cidr: 10.20.0.0/24
        gateway: 10.20.0.1
        dhcp: {first: 10.20.0.100, last: 10.20.0.199}

- name: See what would change
  berth.kvm.network:
    networks: "{{ berth_host_networks }}"
  check_mode: true
  diff: true
"""

RETURN = r"""
networks:
  description: For each network what was done.
  returned: success
  type: list
  elements: dict
  sample: [{name: lan, changed: true, actions: [define, start, autostart], warning: null}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_network import NetworkKind, problems, render
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import ObjectError, ensure

NETWORK = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["nat", "routed"], "required": True},
    "cidr": {"type": "str", "required": True},
    "gateway": {"type": "str", "required": True},
    "dns": {"type": "list", "elements": "str", "default": []},
    "dhcp": {
        "type": "dict",
        "options": {"first": {"type": "str", "required": True}, "last": {"type": "str", "required": True}},
    },
    "bridge": {"type": "str"},
    "mtu": {"type": "int"},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "networks": {"type": "list", "elements": "dict", "options": NETWORK, "required": True},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    networks = module.params["networks"]
    mistakes = [f"network {each['name']}: {text}" for each in networks for text in problems(each)]
    if mistakes:
        module.fail_json(msg="\n".join(mistakes))
    connection = libvirt_conn.connect(module, module.params["uri"])
    kind = NetworkKind(libvirt_conn.libvirt, connection)
    outcomes = []
    for each in networks:
        try:
            outcomes.append(ensure(kind, each["name"], render(each), module.check_mode))
        except ObjectError as error:
            mistakes.append(str(error))
        except libvirt_conn.libvirt.libvirtError as error:
            mistakes.append(f"network {each['name']}: {libvirt_conn.describe(error)}")
    connection.close()
    for outcome in outcomes:
        if outcome.warning:
            module.warn(outcome.warning)
    result = {
        "changed": any(outcome.changed for outcome in outcomes),
        "networks": [outcome.to_dict() for outcome in outcomes],
        "diff": [outcome.diff() for outcome in outcomes if outcome.changed],
    }
    if mistakes:
        module.fail_json(msg="\n".join(mistakes), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
