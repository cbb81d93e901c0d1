# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Tells what a compute host is, has and runs
description:
  - One call returns everything that Berth wants to know of a host, in the shape of section 1 of C(docs/data.md).
  - It changes nothing. Whether KVM really runs guests is found out by starting a guest of 512 bytes,
    once for each boot, kernel and QEMU of the host.
  - A value that the host cannot tell is V(null), never a guess.
options:
  uri:
    description: The libvirt connection on the host.
    type: str
    default: qemu:///system
  state_path:
    description: The folder in which the answer of the KVM probe is kept. An ordinary user has it in the cache.
    type: path
    default: /var/lib/berth
  instances_path:
    description: The folder of the guests' disks.
    type: path
    default: /var/lib/berth/instances
  images_path:
    description: The folder of the images.
    type: path
    default: /var/lib/berth/images
  consoles_path:
    description: The folder of the guests' console logs.
    type: path
    default: /var/lib/berth/consoles
  controller_time:
    description:
      - The controller's clock in seconds since the epoch. Without it there is no C(clock_offset_s).
      - The action plug-in of this module sets it and corrects the offset by the time that the call took.
    type: float
  probe_kvm:
    description:
      - V(auto) uses the remembered answer of the KVM probe, or starts the probe's guest; at most 10 seconds.
      - V(force) starts it again.
      - V(skip) never starts it and takes KVM as working where libvirt offers it.
    type: str
    choices: [auto, force, skip]
    default: auto
  migration_address:
    description:
      - The address on which the other hosts reach this one; handed through into the facts.
      - Without it they have the address of the host's default route, as the role P(berth.kvm.host#role) takes it.
    type: str
  migration_transport:
    description: How the other hosts reach its libvirt; handed through into the facts.
    type: str
    choices: [tls, ssh, tcp]
author:
  - The Berth authors
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode. In check mode the answer of the KVM probe is not remembered.
  diff_mode:
    support: none
    description: Nothing changes.
"""

EXAMPLES = r"""
- name: Look at the host
  berth.kvm.host_facts:

- name: Look at the host of an ordinary user, without starting a guest
  berth.kvm.host_facts:
    uri: qemu:///session
    instances_path: "{{ ansible_env.HOME }}/berth/instances"
    images_path: "{{ ansible_env.HOME }}/berth/images"
    probe_kvm: skip
"""

RETURN = r"""
host:
  description: The facts, see section 1 of C(docs/data.md).
  returned: success
  type: dict
  sample:
    version: 1
    hostname: h1
    architecture: x86_64
    memory_mib: 24000
    virtualization: {domain_type: kvm, kvm_device: true, kvm_works: true, reason: a guest ran on KVM in 0.3 s}
ansible_facts:
  description: The same as the fact C(berth_host).
  returned: success
  type: dict
  sample: {berth_host: {version: 1}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible_collections.berth.kvm.plugins.module_utils.host_collect import Wishes, collect

ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "state_path": {"type": "path", "default": "/var/lib/berth"},
    "instances_path": {"type": "path", "default": "/var/lib/berth/instances"},
    "images_path": {"type": "path", "default": "/var/lib/berth/images"},
    "consoles_path": {"type": "path", "default": "/var/lib/berth/consoles"},
    "controller_time": {"type": "float"},
    "probe_kvm": {"type": "str", "choices": ["auto", "force", "skip"], "default": "auto"},
    "migration_address": {"type": "str"},
    "migration_transport": {"type": "str", "choices": ["tls", "ssh", "tcp"]},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wishes = Wishes(**module.params)
    connection = libvirt_conn.connect(module, wishes.uri)
    try:
        host = collect(module, connection, wishes)
    except libvirt_conn.libvirt.libvirtError as error:
        module.fail_json(msg="libvirt at {0} failed: {1}".format(wishes.uri, libvirt_conn.describe(error)))
    finally:
        connection.close()
    module.exit_json(changed=False, host=host, ansible_facts={"berth_host": host})


if __name__ == "__main__":
    main()
