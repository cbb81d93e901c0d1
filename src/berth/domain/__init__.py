# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest plan in, domain XML and seed content out. Pure: no files but the packaged templates, no clock, no libvirt."""

from berth.domain.definition import guest_definition, guest_definitions
from berth.domain.model import HostView, ImageOnHost
from berth.domain.naming import domain_name
from berth.domain.render import render_domain

__all__ = ["HostView", "ImageOnHost", "domain_name", "guest_definition", "guest_definitions", "render_domain"]
