# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is told about the guests that it has."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from berth.cloud import Cloud
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs import delete, power

_SYNC = runpy.run_path(str(Path(__file__).with_name("test_sync.py")))
cloud, web, call, facts = _SYNC["cloud"], _SYNC["web"], _SYNC["_FLOW"]["call"], _SYNC["facts"]


def test_a_guest_is_worked_on_where_it_was_made_also_when_its_host_keeps_new_ones_elsewhere(
    cloud: Cloud, web: dict[str, Any]
) -> None:
    host = str(web["host"])
    moved = HostUpdate(host, facts=facts(host), variables={"berth_instances_path": "/srv/guests"})
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh([moved], {}, "d", 1.0))
    begun = power.begin(call(cloud, request={"names": ["web"], "action": "stop"}))
    (told,) = begun["work"][host]["guests"]
    assert told["instances_path"] == "/var/lib/berth/instances"
    assert told["instance_dir"] == f"/var/lib/berth/instances/{web['uuid']}"
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.end_action(begun["action"])
    assert delete.begin(call(cloud, request={"names": ["web"]}))["work"][host]["guests"] == [told]
