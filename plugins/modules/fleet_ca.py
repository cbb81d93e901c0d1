# SPDX-License-Identifier: GPL-3.0-or-later
# This file only documents: the work is done on the controller by the action plug-in of the same name.
from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_ca
short_description: Signs the hosts' certificates with the fleet's own certificate authority
description:
  - Runs on the controller, once for all hosts. The hosts make their keys and requests themselves; no private key of a
    host ever reaches the controller.
  - What a certificate says comes from the inventory alone, never from the request, so that a host cannot pose as
    another.
  - The CA's private key is kept in O(secrets_path) with mode 0600 in a folder of mode 0700, encrypted with Ansible
    Vault when the run has a vault password.
  - A certificate that still serves is left alone. It is renewed when less than O(renew_days) are left, when its names,
    addresses or key changed, and when another CA signed it.
options:
  secrets_path:
    description: Folder on the controller for the CA's files. Made if missing.
    type: path
    required: true
  cloud:
    description: Name of the cloud, shown in the CA's subject.
    type: str
    default: berth
  state:
    description:
      - V(present) makes the CA if there is none and signs.
      - V(introduced) makes a second CA that hosts shall trust but that signs nothing yet.
      - V(promoted) lets that second CA sign; the one before stays trusted.
      - V(retired) ends the trust in the CA before, once every host in O(fleet) has certificates of the new one.
      - Each step may be repeated.
    type: str
    choices: [present, introduced, promoted, retired]
    default: present
  hosts:
    description: The hosts with the certificates that each is to have.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The host.
        type: str
        required: true
      certificates:
        description: Its certificates.
        type: list
        elements: dict
        default: []
        suboptions:
          purpose:
            description: What it is for, for example C(libvirt) or C(qemu); the key of the result.
            type: str
            required: true
          common_name:
            description: Its subject's common name.
            type: str
            required: true
          names:
            description: Host names for the subject's alternative names.
            type: list
            elements: str
            default: []
          addresses:
            description: IP addresses for the subject's alternative names.
            type: list
            elements: str
            default: []
          request:
            description: The host's certificate request in PEM. Empty in a dry run on a host that has no key yet.
            type: str
            default: ""
          certificate:
            description: The certificate that the host has now, in PEM.
            type: str
            default: ""
  fleet:
    description: With O(state=retired), all hosts that must have a certificate of the new CA first.
    type: list
    elements: str
    default: []
  days:
    description: Days for which a new certificate is valid.
    type: int
    default: 397
  renew_days:
    description: A certificate with fewer days left is renewed.
    type: int
    default: 30
  force:
    description: Sign again what would still serve.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would be signed and why; writes nothing.
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: Sign for all hosts
  berth.kvm.fleet_ca:
    secrets_path: "{{ berth_cloud }}/secrets"
    hosts:
      - name: h1
        certificates:
          - purpose: libvirt
            common_name: h1
            names: [h1]
            addresses: [10.0.0.11]
            request: "{{ request.content | b64decode }}"
  run_once: true
  register: signed

- name: Begin to change the CA
  berth.kvm.fleet_ca:
    secrets_path: "{{ berth_cloud }}/secrets"
    state: introduced
  run_once: true
"""

RETURN = r"""
phase:
  description: Where a change of the CA stands - V(none), V(settled), V(introduced) or V(promoted).
  returned: success
  type: str
  sample: settled
trust:
  description: All CAs that hosts must trust now, in PEM, the oldest first.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
ca:
  description: The signing CA's subject, SHA-256 fingerprint and end (seconds since the epoch).
  returned: when signing
  type: dict
  sample: {subject: "CN=mycloud fleet CA 1f", fingerprint: ab12, not_after: 2079302400.0}
certificates:
  description: For each host and purpose the certificate, whether and why it was signed anew, its end and the days left.
  returned: when signing
  type: dict
  sample:
    h1:
      libvirt:
        certificate: "-----BEGIN CERTIFICATE-----..."
        changed: true
        reason: it has none yet
        not_after: 1795212000.0
        days_left: 396
waiting:
  description: Hosts that have no certificate of the new CA yet, for whose sake both stay trusted.
  returned: with O(state=retired)
  type: list
  elements: str
  sample: [h9]
warnings:
  description: Set when the CA itself nears its end.
  returned: when signing
  type: list
  elements: str
"""
