#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: guest
short_description: Makes, starts, stops and removes guests on a libvirt host
description:
  - Works on a list of guests in one call. For each it makes overlay disk, NoCloud seed and domain, and starts it.
  - First it checks, under the host's lock, that name, MAC addresses, CPUs, memory and disk are really free, and that
    the policy of its server group still holds.
  - A guest that cannot be made leaves nothing behind; the other guests of the list are not affected.
  - Existing disks and seeds are kept as they are. A definition that differs is replaced; a running guest gets it
    when it starts next time.
  - Run it through its action plug-in, which renders the domain XML from guest plans on the controller.
options:
  guests:
    description:
      - The guests. With O(state=present) each needs everything. Otherwise C(uuid) and C(name) do, and C(instance_dir)
        and C(console_log) say what O(state=absent) removes.
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
        description: Size of the root disk in GiB as the flavor has it; what counts is C(size_gib) of the disks.
        type: int
      limits:
        description: What all domains of the host together may use; keys C(vcpus), C(memory_mib), C(disk_mib).
        type: dict
      group:
        description:
          - The guest's server group, when its policy is a rule; keys C(cloud), C(project), C(name), C(policy)
            (V(affinity) or V(anti-affinity)), C(max_server_per_host), and with V(affinity) C(members), the UUIDs of its
            other guests.
          - A host where the policy does not hold refuses the guest, with kind V(host) and reason V(group).
        type: dict
      instance_dir:
        description: The guest's folder, C(<instances_path>/<uuid>).
        type: path
      instances_path:
        description:
          - The folder that this guest's own is in, when it was made before O(instances_path) changed.
        type: path
      console_log:
        description: The guest's console log; its name is C(<uuid>.log).
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
        description: The NoCloud seed.
        type: dict
        suboptions:
          path:
            description: The image to make, in the guest's folder.
            type: str
            required: true
          meta_data:
            description: Text of C(meta-data).
            type: str
          network_config:
            description: Text of C(network-config).
            type: str
          user_data:
            description: Text of C(user-data), verbatim.
            type: str
          vendor_data:
            description: Settings of C(vendor-data), to which the SSH host key is added.
            type: dict
            default: {}
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
    description:
      - Where the action plug-in writes that it is about to work; C(cloud), C(action) and C(guests).
      - Guests of several projects have an action for each, with spaces between.
    type: dict
  state:
    description:
      - What the guests shall be. V(present) is defined and running; the others need a domain that is there.
      - V(absent) cuts the guest's power, and removes its domain, its own files and its console log.
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
    description:
      - With O(state=stopped), cut the power of a guest that does not shut down in time.
      - With O(state=rebooted), cut it at once.
    type: bool
    default: false
  force:
    description: Also act on a domain of that UUID that carries no record of Berth.
    type: bool
    default: false
  keep_running:
    description: With O(state=absent), a guest that is on is left as it is, and fails.
    type: bool
    default: false
  graceful_timeout_s:
    description: Seconds the guests have to shut down by themselves. All are asked first, then waited for together.
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
    description: Guests worked on at the same time; 0 is one per CPU.
    type: int
    default: 0
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the XML of a new guest, and what differs of an existing one.
    support: full
requirements:
  - libvirt-python, under any interpreter of the host
  - qemu-img and ssh-keygen
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: Make what the conductor planned for this host
  berth.kvm.guest:
    plans: "{{ work.plans }}"
    images: "{{ image_result.images }}"

- name: Shut a guest down, and cut its power when it has not listened for two minutes
  berth.kvm.guest:
    state: stopped
    hard: true
    graceful_timeout_s: 120
    guests:
      - uuid: 4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001
        name: web-1

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
  description:
    - What became of each guest, in the order of the list.
    - Of a failure, C(kind) is V(host) when the guest is not on this host and another may serve, V(request) when no host
      can help, and V(here) when the guest is on this host or may be, so that it must not be made anywhere else.
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
      pending_restart: false
      reason: null
      kind: null
      message: null
      steps: [check, disk, seed, define, start]
"""

import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible_collections.berth.kvm.plugins.module_utils.guest_absent import make_absent
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_power import set_power
from ansible_collections.berth.kvm.plugins.module_utils.guest_present import make_present
from ansible_collections.berth.kvm.plugins.module_utils.guest_work import Options, Work
from ansible_collections.berth.kvm.plugins.module_utils.locks import LockError

SEED: Dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "meta_data": {"type": "str"},
    "network_config": {"type": "str"},
    # The user's own text, which may hold passwords.
    "user_data": {"type": "str", "no_log": True},
    "vendor_data": {"type": "dict", "default": {}},
}
GUEST: Dict[str, Any] = {
    "uuid": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "xml": {"type": "str"},
    "vcpus": {"type": "int"},
    "memory_mib": {"type": "int"},
    "disk_gib": {"type": "int"},
    "limits": {"type": "dict"},
    "group": {"type": "dict"},
    "instance_dir": {"type": "path"},
    "instances_path": {"type": "path"},
    "console_log": {"type": "path"},
    "autostart": {"type": "bool", "default": False},
    "disks": {"type": "list", "elements": "dict"},
    "seed": {"type": "dict", "options": SEED},
}
ARGUMENTS: Dict[str, Any] = {
    "guests": {"type": "list", "elements": "dict", "default": [], "options": GUEST},
    "plans": {"type": "list", "elements": "dict", "no_log": True},
    "images": {"type": "list", "elements": "dict"},
    "journal": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "running", "stopped", "rebooted", "absent"], "default": "present"},
    "uri": {"type": "str", "default": "qemu:///system"},
    "instances_path": {"type": "path", "default": "/var/lib/berth/instances"},
    "hard": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "keep_running": {"type": "bool", "default": False},
    "graceful_timeout_s": {"type": "int", "default": 60},
    "wait_running_s": {"type": "int", "default": 30},
    "lock_timeout_s": {"type": "int", "default": 600},
    "threads": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.params["plans"]:
        module.fail_json(
            msg="plans are rendered by the action plug-in; call berth.kvm.guest from a playbook", guests=[]
        )
    libvirt_conn.load(module, guests=[])
    works = _carry_out(module)
    messages = [work.failure.message for work in works if work.failure]
    answer = {
        "changed": any(work.changed for work in works),
        "guests": [work.result() for work in works],
        "diff": [diff for diff in (work.diff() for work in works) if diff],
    }
    if messages:
        module.fail_json(msg="\n".join(dict.fromkeys(messages)), **answer)
    module.exit_json(**answer)


def _carry_out(module: AnsibleModule) -> List[Work]:
    guests, state, options = module.params["guests"], module.params["state"], _options(module)
    try:
        if state == "present":
            return make_present(guests, options)
        if state == "absent":
            return make_absent(guests, options)
        return set_power(guests, state, options)
    except libvirt_conn.libvirt.libvirtError as error:
        said = libvirt_conn.describe_unusable(error)
        failure = GuestFailure("libvirt", f"libvirt at {options.uri} cannot be used: {said}")
    except LockError as error:
        failure = GuestFailure("locked", str(error))
    # Nothing was looked at and nothing was done.
    return [Work(given, failure=failure) for given in guests]


def _options(module: AnsibleModule) -> Options:
    params = module.params
    return Options(
        uri=params["uri"],
        instances_path=params["instances_path"],
        threads=params["threads"] if params["threads"] > 0 else len(os.sched_getaffinity(0)),
        graceful_timeout_s=params["graceful_timeout_s"],
        wait_running_s=params["wait_running_s"],
        lock_timeout_s=params["lock_timeout_s"],
        hard=params["hard"],
        force=params["force"],
        keep_running=params["keep_running"],
        check_mode=module.check_mode,
    )


if __name__ == "__main__":
    main()
