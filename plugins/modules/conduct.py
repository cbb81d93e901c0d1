# SPDX-License-Identifier: GPL-3.0-or-later
# This file only documents: the work is done on the controller by the action plug-in of the same name.
from __future__ import annotations

DOCUMENTATION = r"""
module: conduct
short_description: Carries out one phase of a Berth verb on the controller
description:
  - Validates, records, places and claims before the hosts work, and records their results afterwards.
  - It runs on the controller, reads and writes the cloud's ledger and never contacts a host.
  - Berth's playbooks use it; call it yourself only to build a playbook of your own around the same steps.
options:
  verb:
    description: The verb, for example C(boot) or C(delete).
    type: str
    required: true
  phase:
    description: The phase of the verb, for example C(begin), C(record) or C(finish).
    type: str
    required: true
  cloud:
    description:
      - The cloud's directory.
      - Without it, the variable C(berth_cloud), then the folder of the inventory, then C(BERTH_CLOUD), then the
        current directory.
    type: path
  request:
    description: What the user asks for; its keys depend on the verb.
    type: dict
    default: {}
  action:
    description: Id of the action that C(begin) returned.
    type: str
    default: ""
  hosts:
    description: Hosts whose registered results are handed to the phase.
    type: list
    elements: str
    default: []
  collect:
    description: Names of the registered variables to hand over.
    type: list
    elements: str
    default: [berth_image_result, berth_guest_result]
  inventory:
    description: Whether the phase gets the inventory's hosts, groups and variables.
    type: bool
    default: false
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: Begin a boot
  berth.kvm.conduct:
    verb: boot
    phase: begin
    request:
      name: web
      count: 3
      flavor: m1.small
      image: debian-12
  register: berth_round_1
"""

RETURN = r"""
action:
  description: Id of the journal's action.
  returned: when the phase begins or continues one
  type: str
  sample: act-0f3a
hosts:
  description: The hosts that have work in the next play.
  returned: when a play follows
  type: list
  elements: str
  sample: [h1, h2]
work:
  description: The work per host.
  returned: when a play follows
  type: dict
  sample: {}
berth_error:
  description: The error as data, with its kind, message, details and hint.
  returned: on failure
  type: dict
  sample: {error: NoValidHost, message: no host fits}
"""
