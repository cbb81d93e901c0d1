# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: peer_check
short_description: Opens libvirt connections from a host to its peers
description:
  - Really opens each connection, all at once, and reads the peer's UUID over it.
  - On request it also tries each peer without a client certificate, which must fail.
  - Fails when a peer does not answer as it should, with one line for each; changes nothing.
options:
  peers:
    description: The peers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The peer's name, for messages.
        type: str
        required: true
      uri:
        description: The connection, for example V(qemu+tls://10.0.0.12/system).
        type: str
        required: true
      host_uuid:
        description: The host UUID that the connection must lead to; dashes do not matter.
        type: str
      outsider:
        description:
          - A CA file. Given, the peer is tried again with this CA and no client certificate, and must turn that away.
        type: path
  timeout_s:
    description: Seconds for each attempt.
    type: int
    default: 20
attributes:
  check_mode:
    support: full
    description: Connections are opened in check mode as well; they change nothing.
author:
  - The Berth authors
"""

EXAMPLES = r"""
- name: Reach the other host over TLS, and see that strangers do not
  berth.kvm.peer_check:
    peers:
      - name: h2
        uri: qemu+tls://10.0.0.12/system
        outsider: /etc/pki/CA/cacert.pem

- name: Reach it over SSH
  berth.kvm.peer_check:
    peers: [{name: h2, uri: qemu+ssh://root@10.0.0.12/system}]
"""

RETURN = r"""
peers:
  description: What came of each connection.
  returned: always
  type: list
  elements: dict
  sample: [{name: h2, uri: "qemu+tls://10.0.0.12/system", ok: true, uuid: 0123..., message: null}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils.peer_check import check_peers

PEER = {
    "name": {"type": "str", "required": True},
    "uri": {"type": "str", "required": True},
    "host_uuid": {"type": "str"},
    "outsider": {"type": "path"},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "peers": {"type": "list", "elements": "dict", "options": PEER, "required": True},
            "timeout_s": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    checked = check_peers(module.params["peers"], module.params["timeout_s"])
    refused = [f"{each['name']} ({each['uri']}): {each['message']}" for each in checked if not each["ok"]]
    if refused:
        module.fail_json(msg="\n".join(refused), peers=checked)
    module.exit_json(changed=False, peers=checked)


if __name__ == "__main__":
    main()
