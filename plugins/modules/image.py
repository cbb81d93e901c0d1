# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Makes disk images present in a host's cache, or removes them
description:
  - Brings images from http(s), from a file of the host or from a file of the controller, and keeps them under a name
    that is made of their digest.
  - The digest is checked, the header is inspected before any qemu tool opens the file, and C(qemu-img) must then agree.
    An image with a backing file, an external data file, encryption, internal snapshots, unknown features or another
    format than declared is refused.
  - One call takes a list. An image that fails does not keep the others from being brought.
  - A call that was killed anywhere is finished by running it again; a download goes on where it was, if the server can.
options:
  images:
    description: The images.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name for messages and results. It is not part of any path.
        type: str
        required: true
      format:
        description: What the image is. It is never guessed; content of another format is refused.
        type: str
        choices: [qcow2, raw]
        required: true
      source:
        description:
          - An C(http://), C(https://) or C(file:///) URL (a path on the host), or a path on the controller.
          - Needed for O(state=present).
        type: str
        default: ""
      digest:
        description:
          - C(sha256:) or C(sha512:) and the hexadecimal digest of the file.
          - Without it O(images[].sums) decides. For a file of the host or the controller without both, its own SHA-256.
          - Needed for O(state=absent).
        type: str
        default: ""
      sums:
        description:
          - URL of the publisher's sums file, in the form of C(sha256sum) or of BSD, also clear-signed, at most 1 MiB.
          - The line of the source's file name gives the digest.
        type: str
        default: ""
      max_virtual_size_gib:
        description: The biggest disk that the image may unfold to.
        type: int
        default: 100
      allow_local_source:
        description: Whether URLs may lead to the host itself or to its link. Refused otherwise, also by redirect.
        type: bool
        default: false
      insecure:
        description: Whether O(images[].sums) may come over C(http://).
        type: bool
        default: false
      upload:
        description: Where the file of the controller lies on the host. The action plug-in sets it.
        type: path
        default: ""
      size_bytes:
        description: The size of the file of the controller. The action plug-in sets it.
        type: int
        default: 0
  state:
    description:
      - V(absent) removes images by digest. One that is the base of a disk under O(instances_path) is kept, and the item
        fails.
    type: str
    choices: [present, absent]
    default: present
  images_path:
    description: The folder of the images.
    type: path
    default: /var/lib/berth/images
  instances_path:
    description: The folder of the guests' disks.
    type: path
    default: /var/lib/berth/instances
  journal:
    description: Where the action plug-in writes that it is about to work; C(cloud), C(action) and C(guests).
    type: dict
  timeout_s:
    description: How long one image may take, waiting for another call that works on it included.
    type: int
    default: 3600
author:
  - The Berth authors
attributes:
  check_mode:
    support: full
    description: Says which images would be brought or removed. At most a sums file is read from the network.
  diff_mode:
    support: full
    description: Shows which cache files appear and disappear.
"""

EXAMPLES = r"""
- name: Bring an image whose digest its publisher lists
  berth.kvm.image:
    images:
      - name: debian-12
        source: https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2
        sums: https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS
        format: qcow2
  register: berth_image_result

- name: Say what would be brought, and bring nothing
  berth.kvm.image:
    images:
      - name: tiny
        source: files/tiny.qcow2
        format: qcow2
  check_mode: true

- name: Remove an image that no guest uses any more
  berth.kvm.image:
    state: absent
    images:
      - name: old
        digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        format: qcow2
"""

RETURN = r"""
images:
  description: One item per image, in the order of the option.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: As given.
      type: str
      returned: always
      sample: debian-12
    ok:
      description: Whether the image is as asked for.
      type: bool
      returned: always
      sample: true
    changed:
      description: Whether this call changed it.
      type: bool
      returned: always
      sample: true
    path:
      description: The cache file; null while the digest is not known.
      type: str
      returned: always
      sample: /var/lib/berth/images/sha256-9f86d081.qcow2
    format:
      description: As given.
      type: str
      returned: always
      sample: qcow2
    digest:
      description: The digest that the file has; null while it is not known.
      type: str
      returned: always
      sample: sha256:9f86d081
    virtual_size_bytes:
      description: The size of the disk that a guest sees; null for an image that is not there.
      type: int
      returned: always
      sample: 2147483648
    size_bytes:
      description: The size of the file; null for an image that is not there.
      type: int
      returned: always
      sample: 151000000
    kind:
      description: Of a failure, V(host) when another host or a later time may do, V(request) when no host can help.
      type: str
      returned: always
      sample: request
    reason:
      description: Of a failure, a stable word such as V(digest), V(backing_file) or V(no_space).
      type: str
      returned: always
      sample: backing_file
    message:
      description: Of a failure, what was found and what is allowed; in check mode what would be done.
      type: str
      returned: always
      sample: "image x: has the backing file '/etc/shadow'; allowed is an image that is complete in one file"
"""

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.berth.kvm.plugins.module_utils.image_cache import Image, ImageCache, Places

ARGUMENTS: Dict[str, Any] = {
    "images": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "format": {"type": "str", "choices": ["qcow2", "raw"], "required": True},
            "source": {"type": "str", "default": ""},
            "digest": {"type": "str", "default": ""},
            "sums": {"type": "str", "default": ""},
            "max_virtual_size_gib": {"type": "int", "default": 100},
            "allow_local_source": {"type": "bool", "default": False},
            "insecure": {"type": "bool", "default": False},
            "upload": {"type": "path", "default": ""},
            "size_bytes": {"type": "int", "default": 0},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "images_path": {"type": "path", "default": "/var/lib/berth/images"},
    "instances_path": {"type": "path", "default": "/var/lib/berth/instances"},
    "timeout_s": {"type": "int", "default": 3600},
    "journal": {"type": "dict"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    images = [Image(**given) for given in module.params["images"]]
    mistakes = _mistakes(module.params, images)
    if mistakes:
        module.fail_json(msg="\n".join(mistakes), images=[])
    places = Places(module.params["images_path"], module.params["instances_path"], module.params["timeout_s"])
    cache = ImageCache(places, check_mode=module.check_mode)
    bring = module.params["state"] == "present"
    items = [cache.present(image) if bring else cache.absent(image) for image in images]
    changed = any(item["changed"] for item in items)
    diff = [_diff(item, bring) for item in items if item["changed"]]
    messages = [item["message"] for item in items if not item["ok"]]
    if messages:
        module.fail_json(msg="\n".join(messages), images=items, changed=changed, diff=diff)
    module.exit_json(images=items, changed=changed, diff=diff)


def _mistakes(params: Dict[str, Any], images: List[Image]) -> List[str]:
    mistakes = [
        f"image {image.name}: max_virtual_size_gib {image.max_virtual_size_gib}; allowed are 1 and more"
        for image in images
        if image.max_virtual_size_gib < 1
    ]
    if params["timeout_s"] < 1:
        mistakes.append(f"timeout_s {params['timeout_s']}; allowed are 1 and more")
    if params["state"] == "present":
        mistakes += [f"image {image.name}: state present needs a source" for image in images if not image.source]
    return mistakes


def _diff(item: Dict[str, Any], bring: bool) -> Dict[str, str]:
    line = f"{item['name']} {item['digest']}\n"
    header = str(item["path"])
    return {
        "before_header": header,
        "after_header": header,
        "before": "" if bring else line,
        "after": line if bring else "",
    }


if __name__ == "__main__":
    main()
