# SPDX-License-Identifier: GPL-3.0-or-later
"""Every weigher against its table of cases (cases/weighers.yml), and multipliers of aggregates."""

from pathlib import Path

import pytest
import yaml

from berth.placement import GuestRequest, Policy, ServerGroup, build_fleet, parse_profiles, read_fleet, weighers
from berth.placement.registry import BUILT_IN, WEIGHERS
from berth.placement.scores import Scores
from berth.placement.view import View

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "weighers.yml").read_text(encoding="utf-8"))
PLAIN = {"vcpus_total": 16, "memory_mib_total": 65536, "disk_mib_total": 102400}


def scores_of(case, **profile):
    document = {
        "hosts": [{**PLAIN, "name": f"c{n}", **host} for n, host in enumerate(case["hosts"])],
        "aggregates": case.get("aggregates", {}),
    }
    raw = dict(case.get("request", {}))
    if "group" in raw:
        raw["group"] = ServerGroup(**{**raw["group"], "policy": Policy(raw["group"]["policy"])})
    request = GuestRequest(uuid="new", name="new", vcpus=1, memory_mib=512, **raw)
    settings = {"options": case.get("options", {}), "weighers": [case["weigher"]], **profile}
    pipeline = parse_profiles({"profiles": {"default": settings}}).choose().pipeline
    return Scores(View(read_fleet(document).fleet, 0.0), request, None, pipeline.weighers, everything=True)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['weigher']}: {case['name']}" for case in CASES])
def test_case(case):
    scores = scores_of(case)
    (column,) = scores.columns
    found = column.normalised.tolist()
    assert found == pytest.approx(case["normalised"], abs=0)
    default = BUILT_IN.weighers[case["weigher"]].default_multiplier
    assert column.multiplier == case.get("multiplier", default)
    assert scores.total.tolist() == [column.multiplier * part for part in found]


def test_every_weigher_is_registered_and_has_a_case():
    files = {path.stem for path in Path(weighers.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == {kind.__module__.rpartition(".")[2] for kind in WEIGHERS}
    assert {case["weigher"] for case in CASES} == set(BUILT_IN.weighers)


@pytest.mark.parametrize("kind", WEIGHERS, ids=lambda kind: kind.__name__)
def test_docstring_states_unit_direction_and_default(kind):
    assert kind.__doc__ and kind.__doc__.startswith("Weigh")
    if kind.__name__ != "CrossCellWeigher":
        assert "multiplier" in kind.__doc__ or "default 1.0" in kind.__doc__ or "More is better" in kind.__doc__


MULTIPLIERS = {
    "an aggregate's": ({"g": {"ram_weight_multiplier": "-2.5"}}, [["g"], []], [-2.5, 1.0]),
    "the smallest of two": (
        {"g": {"ram_weight_multiplier": "3"}, "k": {"ram_weight_multiplier": "2"}},
        [["g", "k"], ["g"]],
        [2.0, 3.0],
    ),
    "no number": ({"g": {"ram_weight_multiplier": "much"}}, [["g"], []], [1.0, 1.0]),
    "infinite": ({"g": {"ram_weight_multiplier": "inf"}}, [["g"], []], [1.0, 1.0]),
    "one bad of two": (
        {"g": {"ram_weight_multiplier": "3"}, "k": {"ram_weight_multiplier": "2,5"}},
        [["g", "k"], ["g"]],
        [1.0, 3.0],
    ),
}


@pytest.mark.parametrize(("aggregates", "members", "expected"), MULTIPLIERS.values(), ids=MULTIPLIERS)
def test_multipliers_of_aggregates(aggregates, members, expected):
    case = {"weigher": "RAMWeigher", "hosts": [{"aggregates": names} for names in members], "aggregates": aggregates}
    (column,) = scores_of(case).columns
    assert list(column.multiplier) == expected


def test_a_profile_s_zero_holds_against_an_aggregate_for_image_properties():
    case = {
        "weigher": "ImagePropertiesWeigher",
        "hosts": [{"aggregates": ["g"]}, {}],
        "aggregates": {"g": {"image_props_weight_multiplier": "5"}},
    }
    assert scores_of(case).columns[0].multiplier == 0.0
    on = scores_of(case, multipliers={"image_props_weight_multiplier": 1.0})
    assert list(on.columns[0].multiplier) == [5.0, 1.0]


def test_an_empty_fleet_has_no_scores():
    scores = Scores(View(build_fleet([]), 0.0), GuestRequest("u", "u", 1, 1), None, ())
    assert scores.total.size == 0
