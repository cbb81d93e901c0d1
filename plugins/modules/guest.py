#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: guest
short_description: Makes, starts, stops and removes guests on a libvirt host
description:
  - Works on a list of guests in one call. For each it makes the overlay disk, the NoCloud seed and the domain, and starts it.
  - Before anything is made it checks, under the host's lock, that name, MAC addresses, CPUs, memory and disk are really free.
  - A guest that cannot be made leaves nothing behind; the other guests of the list are not affected.
  - Run it through its action plug-in, which renders the domain XML from guest plans on the controller.
options:
  guests:
    description:
      - The guests. With O(state=present) each needs everything; otherwise C(uuid), C(name), C(instance_dir)
        and C(console_log).
    type: list
    elements: dict
    default: []
    suboptions:
      uuid:
        description: The guest's UUID, in lower case.
        type: str
        required: true
      name:
        description: Name of the libvirt domain.
        type: str
        required: true
      xml:
        description: The domain XML.
        type: str
      vcpus:
        description: Number of virtual CPUs.
        type: int
      memory_mib:
        description: Memory in MiB.
        type: int
      disk_gib:
        description: Size of the root disk in GiB; 0 is the image's own size.
        type: int
      limits:
        description: What all domains of the host may use; keys C(vcpus), C(memory_mib), C(disk_mib).
        type: dict
      instance_dir:
        description: The guest's folder, C(<instances_path>/<uuid>).
        type: path
        required: true
      console_log:
        description: The guest's console log.
        type: path
      autostart:
        description: Whether libvirt starts the guest when the host boots.
        type: bool
        default: false
      disks:
        description: Overlay disks with C(path), C(format), C(size_gib) and C(backing) (C(path), C(format)).
        type: list
        elements: dict
      seed:
        description: The NoCloud seed with C(path), C(meta_data), C(user_data), C(network_config) and C(vendor_data).
        type: dict
  plans:
    description:
      - Guest plans, from which the action plug-in renders the definitions of O(guests). Only with O(state=present).
    type: list
    elements: dict
  images:
    description: What M(berth.kvm.image) returned for this host. Only with O(plans).
    type: list
    elements: dict
  journal:
    description: Where the action plug-in writes that it is about to work; C(cloud), C(action) and C(guests).
    type: dict
  state:
    description: What the guests shall be. C(present) is defined and running.
    type: str
    choices: [present, running, stopped, rebooted, absent]
    default: present
  uri:
    description: The libvirt connection.
    type: str
    default: qemu:///system
  instances_path:
    description: Folder of the guests' folders.
    type: path
    default: /var/lib/berth/instances
  hard:
    description: Cut the power of a guest that does not shut down.
    type: bool
    default: false
  force:
    description: Also act on a domain of that UUID that carries no record of Berth.
    type: bool
    default: false
  graceful_timeout_s:
    description: Seconds a guest has to shut down by itself.
    type: int
    default: 60
  wait_running_s:
    description: Seconds a started guest has to be running.
    type: int
    default: 30
  lock_timeout_s:
    description: Seconds to wait for another run on this host.
    type: int
    default: 600
  threads:
    description: Guests started at the same time; 0 is one per CPU.
    type: int
    default: 0
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Lists what each guest's domain lacked.
    support: full
requirements:
  - libvirt-python, under any interpreter of the host
  - qemu-img, ssh-keygen and genisoimage
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: Make what the conductor planned for this host
  berth.kvm.guest:
    plans: "{{ work.plans }}"
    images: "{{ image_result.images }}"

- name: Say what removing a guest would do
  berth.kvm.guest:
    state: absent
    guests:
      - uuid: 4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001
        name: web-1
        instance_dir: /var/lib/berth/instances/4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001
        console_log: /var/lib/berth/consoles/4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001.log
  check_mode: true
"""

RETURN = r"""
guests:
  description: What became of each guest, in the order of the list.
  returned: always
  type: list
  elements: dict
  sample:
    - uuid: 4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001
      name: web-1
      ok: true
      changed: true
      state: running
      ssh_host_key: ssh-ed25519 AAAA
      reason: null
      kind: null
      message: null
      steps: [check, disk, seed, define, start]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils.guest_files import Toolbox
from ansible_collections.berth.kvm.plugins.module_utils.guest_run import (
    Settings,
    ensure_absent,
    ensure_power,
    ensure_present,
)
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_conn import connect

GUEST = {
    "uuid": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "xml": {"type": "str"},
    "vcpus": {"type": "int"},
    "memory_mib": {"type": "int"},
    "disk_gib": {"type": "int"},
    "limits": {"type": "dict"},
    "instance_dir": {"type": "path", "required": True},
    "console_log": {"type": "path"},
    "autostart": {"type": "bool", "default": False},
    "disks": {"type": "list", "elements": "dict"},
    # Holds the user's own text, which may hold passwords.
    "seed": {"type": "dict", "no_log": True},
}
ARGUMENTS = {
    "guests": {"type": "list", "elements": "dict", "default": [], "options": GUEST},
    "plans": {"type": "list", "elements": "dict", "no_log": True},
    "images": {"type": "list", "elements": "dict"},
    "journal": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "running", "stopped", "rebooted", "absent"], "default": "present"},
    "uri": {"type": "str", "default": "qemu:///system"},
    "instances_path": {"type": "path", "default": "/var/lib/berth/instances"},
    "hard": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "graceful_timeout_s": {"type": "int", "default": 60},
    "wait_running_s": {"type": "int", "default": 30},
    "lock_timeout_s": {"type": "int", "default": 600},
    "threads": {"type": "int", "default": 0},
}
NEEDED = ("xml", "vcpus", "memory_mib", "disk_gib", "disks", "seed", "console_log")


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    if params["plans"]:
        module.fail_json(msg="plans are rendered by the action plug-in; call berth.kvm.guest from a playbook")
    guests, state = params["guests"], params["state"]
    if state == "present":
        lacking = ["%s: %s" % (g["name"], key) for g in guests for key in NEEDED if g[key] is None]
        if lacking:
            module.fail_json(msg="state present needs more of these guests: " + ", ".join(lacking))
    connect(module, params["uri"]).close()
    tools = Toolbox(module.run_command, lambda name: module.get_bin_path(name))
    settings = Settings(params, module.check_mode, tools)
    if state == "present":
        items = ensure_present(guests, settings)
    elif state == "absent":
        items = ensure_absent(guests, settings)
    else:
        items = ensure_power(guests, settings, state)
    messages = [item.failure.message for item in items if item.failure]
    lines = ["%s: %s" % (item.guest["name"], line) for item in items for line in item.lines]
    answer = {
        "changed": any(item.changed for item in items),
        "guests": [item.result() for item in items],
        "diff": [{"before": "", "after": "".join(line + "\n" for line in lines)}] if lines else [],
    }
    if messages:
        module.fail_json(msg="\n".join(messages), **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
