# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs where Nova is installed: times its filters and weighers for one request. Started by benchmarks/placement.py.

python nova_speed.py PEER FLEETS HOSTS full|plain  ->  seconds per request, JSON
"""

import importlib.util
import json
import statistics
import sys
import time


def load(name, path):
    """Returns the module of a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main():
    """Prints the median time of one request."""
    peer_path, fleets_path, count, kind = sys.argv[1:]
    peer, fleets = load("nova_peer", peer_path), load("placement_fleets", fleets_path)
    peer.set_up()
    document = fleets.fleet(int(count), full=kind == "full")
    now = peer.timeutils.utcnow()
    peer.CONF.set_override("service_down_time", 86400)
    states = [peer.host_state(host, document["aggregates"], now) for host in document["hosts"]]
    handler = peer.scheduler_filters.HostFilterHandler()
    known = peer.classes(handler)
    rules = [known[name]() for name in peer.CONF.filter_scheduler.enabled_filters]
    weigh = peer.weights.HostWeightHandler()
    weighers = [weigher() for weigher in weigh.get_matching_classes(peer.CONF.filter_scheduler.weight_classes)]
    spec = peer.request_spec(fleets.request(full=kind == "full"), {})
    times = []
    while len(times) < 3 or (sum(times) < 3 and len(times) < 30):
        before = time.process_time()
        left = handler.get_filtered_objects(rules, states, spec)
        best = weigh.get_weighed_objects(weighers, left, spec)[0].obj.host
        times.append(time.process_time() - before)
    names = [type(rule).__name__ for rule in rules], [type(weigher).__name__ for weigher in weighers]
    print(json.dumps({"seconds": statistics.median(times), "best": best, "names": names}))


if __name__ == "__main__":
    main()
