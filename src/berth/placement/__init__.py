# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: a fleet and guests to place -> hosts, with reasons. Pure: no files, no clock, no environment.

    fleet = build_fleet(hosts)
    decision = place(fleet, requests, Profile(), now_s=now)
    if not decision.ok:
        raise decision.error()

docs/placement.md explains it and shows how to add a filter.
"""

from berth.placement.capacity import FlavorCapacity, Survival, capacity, survival
from berth.placement.engine import Decision, Failure, Placement, place, place_what_fits
from berth.placement.facts import OTHER_CLOUDS, HostStatus, HostUsage, host_from_facts
from berth.placement.filters.base import Filter, HostFilter, Reads
from berth.placement.fleet import Fleet, build_fleet
from berth.placement.fleet_document import FleetDocument, read_fleet, write_fleet
from berth.placement.hints import check_hints, zone_and_host
from berth.placement.model import Aggregate, GuestOnHost, GuestRequest, Host, Needs, Policy, ServerGroup
from berth.placement.movable import request_for
from berth.placement.pinning import NO_PINS, CellPins, Pins
from berth.placement.profile import Options, Profile
from berth.placement.profiles import Profiles, parse_profiles, plugin_names
from berth.placement.reasons import Code, Reason, Refusal
from berth.placement.rebalance import Limits, Move, Plan, imbalance, rebalance
from berth.placement.registry import BUILT_IN, Registry
from berth.placement.report import Report, Share, Stage, Weighed
from berth.placement.request_document import RequestItem, read_requests
from berth.placement.simulate import Outcome, Simulation, schema, simulate
from berth.placement.stranding import Stranded
from berth.placement.weighers.base import HostWeigher, Weigher

__all__ = [
    "BUILT_IN",
    "NO_PINS",
    "OTHER_CLOUDS",
    "Aggregate",
    "CellPins",
    "Code",
    "Decision",
    "Failure",
    "Filter",
    "FlavorCapacity",
    "Fleet",
    "FleetDocument",
    "GuestOnHost",
    "GuestRequest",
    "Host",
    "HostFilter",
    "HostStatus",
    "HostUsage",
    "HostWeigher",
    "Limits",
    "Move",
    "Needs",
    "Options",
    "Outcome",
    "Pins",
    "Placement",
    "Plan",
    "Policy",
    "Profile",
    "Profiles",
    "Reads",
    "Reason",
    "Refusal",
    "Registry",
    "Report",
    "RequestItem",
    "ServerGroup",
    "Share",
    "Simulation",
    "Stage",
    "Stranded",
    "Survival",
    "Weighed",
    "Weigher",
    "build_fleet",
    "capacity",
    "check_hints",
    "host_from_facts",
    "imbalance",
    "parse_profiles",
    "place",
    "place_what_fits",
    "plugin_names",
    "read_fleet",
    "read_requests",
    "rebalance",
    "request_for",
    "schema",
    "simulate",
    "survival",
    "write_fleet",
    "zone_and_host",
]
