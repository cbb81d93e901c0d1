# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are derived from a guest's own: its libvirt domain and its files."""

from __future__ import annotations

DEFAULT_PROJECT = "default"

# The files of a guest in its instance folder. The host removes what has these names and nothing else
# (plugins/module_utils/guest_files.py).
ROOT_DISK = "disk.qcow2"
SEED = "seed.iso"
NVRAM = "nvram.fd"


def domain_name(project: str, name: str) -> str:
    """Returns the libvirt domain's name: NAME in the default project, else PROJECT.NAME.

    A guest's name has no dot, so the last dot always divides the two.
    """
    return name if project == DEFAULT_PROJECT else f"{project}.{name}"
