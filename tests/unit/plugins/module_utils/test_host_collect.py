# SPDX-License-Identifier: GPL-3.0-or-later
import os

from ansible_collections.berth.kvm.plugins.module_utils.host_collect import probe_memory_path


def test_the_probes_answer_is_kept_with_the_hosts_state_or_in_the_users_cache(tmp_path, monkeypatch):
    assert probe_memory_path(str(tmp_path)) == f"{tmp_path}/kvm-probe.json"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert probe_memory_path("/srv/berth") == "/cache/berth/kvm-probe.json"
