# SPDX-License-Identifier: GPL-3.0-or-later
"""Berth: a private cloud without a control plane, run by Ansible on plain libvirt hosts."""
