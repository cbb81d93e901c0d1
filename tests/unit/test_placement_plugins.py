# SPDX-License-Identifier: GPL-3.0-or-later
"""Plug-ins: an installed package and a file of the cloud, in both shapes, placed with."""

import sys
from pathlib import Path

import pytest

from berth.cloud import Cloud, Settings
from berth.errors import InvalidInput
from berth.placement import GuestRequest, Host, build_fleet, place
from berth.placement_plugins import load_registry
from berth.verbs.placement_profiles import read_profiles

ONE_AT_A_TIME = """
from berth.placement import Code, HostFilter, HostWeigher, Reason


class OddHosts(HostFilter):
    def host_passes(self, host, request):
        if int(host.name[1:]) % 2:
            return None
        return Reason(Code.PLUGIN, "an even host", host.name, "odd")


class LastHost(HostWeigher):
    multiplier_option = "last_host_weight_multiplier"

    def weigh_host(self, host, request):
        return float(host.name[1:])
"""

COLUMNS = """
import numpy as np

from berth.placement import Code, Filter, Reads, Reason, Weigher


class FirstHosts(Filter):
    reads = Reads.FACTS

    def passes(self, view, request, rows):
        return np.arange(view.fleet.size)[rows] < self.options.plugin_options["first"]

    def reasons(self, view, request, row):
        return (Reason(Code.PLUGIN, "too far back", row, self.options.plugin_options["first"]),)


class Length(Weigher):
    multiplier_option = "length_weight_multiplier"

    def raw(self, view, request, rows):
        return view.fleet.vcpus_total[rows].astype(float)
"""

PROFILE = """\
profiles:
  default:
    plugins: [{plugin}]
    filters: {{add: [{filter}]}}
    weighers: [{weigher}]
    options: {{plugin_options: {{first: 2}}}}
"""

FLEET = [Host(f"c{n}", facts_at=0.0, vcpus_total=8 + n, memory_mib_total=8192) for n in range(5)]
REQUEST = GuestRequest(uuid="u", name="web", vcpus=1, memory_mib=512)


def cloud_with(tmp_path: Path, plugin: str, rule: str, weigher: str) -> Cloud:
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "placement.yml").write_text(PROFILE.format(plugin=plugin, filter=rule, weigher=weigher))
    return Cloud(tmp_path, Settings())


def test_a_file_of_the_cloud_one_host_at_a_time(tmp_path):
    cloud = cloud_with(tmp_path, "odd.py", "OddHosts", "LastHost")
    (tmp_path / "catalog" / "odd.py").write_text(ONE_AT_A_TIME)
    decision = place(build_fleet(FLEET), [REQUEST], read_profiles(cloud).choose(), now_s=0)
    assert decision.placements[0].host == "c3"
    report = decision.explain()
    assert report.refused[0].to_dict() == {
        "host": "c0",
        "filter": "OddHosts",
        "reasons": [{"code": "plugin", "text": "an even host", "have": "c0", "need": "odd", "unit": ""}],
    }
    assert [weighed.host for weighed in report.weighed] == ["c3", "c1"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed package: a module and its metadata on the path."""
    site = tmp_path / "site"
    info = site / "berth_first-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "berth_first.py").write_text(COLUMNS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: berth-first\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[berth.filters]\nfirst = berth_first:FirstHosts\n[berth.weighers]\nfirst = berth_first:Length\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("berth_first", None)


def test_an_installed_package_over_columns(tmp_path, installed):
    profile = read_profiles(cloud_with(tmp_path, "first", "FirstHosts", "Length")).choose()
    decision = place(build_fleet(FLEET), [REQUEST], profile, now_s=0)
    assert decision.placements[0].host == "c1"
    assert [refusal.text for refusal in decision.explain().refused] == ["too far back"] * 3


def test_an_installed_package_is_not_imported_unless_named(tmp_path, installed):
    load_registry([], tmp_path)
    assert "berth_first" not in sys.modules


MISTAKES = {
    "unknown": ("frist", "no installed package has it"),
    "no file": ("gone.py", "there is no file"),
    "outside": ("../outside.py", "is not below"),
    "syntax": ("broken.py", "SyntaxError"),
    "raises": ("raises.py", "RuntimeError: at import"),
    "nothing in it": ("empty.py", "defines no subclass"),
    "a taken name": ("taken.py", "the name RamFilter is taken"),
}


@pytest.mark.parametrize(("name", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(tmp_path, installed, name, text):
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "raises.py").write_text("raise RuntimeError('at import')")
    (tmp_path / "empty.py").write_text("from berth.placement import HostFilter\n")
    (tmp_path / "taken.py").write_text(ONE_AT_A_TIME.replace("OddHosts", "RamFilter"))
    with pytest.raises(InvalidInput) as caught:
        load_registry([name], tmp_path)
    assert text in str(caught.value)
    if name == "frist":
        assert "did you mean first?" in str(caught.value)


def test_a_mistake_in_the_file_has_its_line(tmp_path):
    cloud = cloud_with(tmp_path, "odd.py", "OddHost", "LastHost")
    (tmp_path / "catalog" / "odd.py").write_text(ONE_AT_A_TIME)
    with pytest.raises(InvalidInput) as caught:
        read_profiles(cloud)
    assert "placement.yml:4" in str(caught.value) and "did you mean OddHosts?" in str(caught.value)


def test_without_a_file_there_is_the_default(tmp_path):
    assert read_profiles(Cloud(tmp_path, Settings())).choose().name == "default"
