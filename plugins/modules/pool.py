# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pool
short_description: Keeps a libvirt storage pool over a folder
description:
  - Defines the pool, starts it and lets it start with its daemon.
  - libvirt looks here for the place of a guest's disk when it is migrated together with its storage.
  - A pool of the same name over another folder is refused, never changed.
options:
  name:
    description: The pool's name.
    type: str
    default: berth
  path:
    description: The folder. It must exist.
    type: path
    required: true
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
    description: Shows the pool's type and folder before and after.
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: The pool of the guests' disks
  berth.kvm.pool:
    path: /var/lib/berth/instances

- name: See whether another pool would be made
  berth.kvm.pool:
    name: scratch
    path: /srv/scratch
  check_mode: true
"""

RETURN = r"""
pool:
  description: What was done.
  returned: success
  type: dict
  sample: {name: berth, changed: true, actions: [define, start, autostart], warning: null}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils import libvirt_conn
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import ObjectError, ensure
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_pool import PoolKind, render


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "berth"},
            "path": {"type": "path", "required": True},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    name, path = module.params["name"], module.params["path"]
    connection = libvirt_conn.connect(module, module.params["uri"])
    try:
        outcome = ensure(PoolKind(libvirt_conn.libvirt, connection), name, render(name, path), module.check_mode)
    except ObjectError as error:
        module.fail_json(msg=str(error))
    except libvirt_conn.libvirt.libvirtError as error:
        module.fail_json(msg=f"pool {name}: {libvirt_conn.describe(error)}")
    connection.close()
    module.exit_json(changed=outcome.changed, pool=outcome.to_dict(), diff=outcome.diff() if outcome.changed else {})


if __name__ == "__main__":
    main()
