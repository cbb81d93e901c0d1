# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away lab of hypervisor hosts: systemd-nspawn containers on one machine. See docs/lab.md."""
