# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest plans that the tests of berth.domain share."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from berth.domain import ImageOnHost

HERE = Path(__file__).parent
CASES = yaml.safe_load((HERE / "cases.yml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Case:
    name: str
    plan: dict
    image: ImageOnHost
    domain_type: str

    @property
    def golden(self):
        return HERE / "golden" / f"{self.name}.xml"


def case_of(name):
    base, differs = CASES["base"], CASES["cases"][name]
    return Case(
        name=name,
        plan={**copy.deepcopy(base["plan"]), **copy.deepcopy(differs.get("plan", {}))},
        image=ImageOnHost.from_result({**base["image"], **differs.get("image", {})}),
        domain_type=differs.get("domain_type", base["domain_type"]),
    )


def pytest_addoption(parser):
    parser.addoption("--regenerate", action="store_true", help="write the golden domain XML anew")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [case_of(name) for name in CASES["cases"]], ids=list(CASES["cases"]))


@pytest.fixture
def plain():
    return case_of("plain")


@pytest.fixture
def all_cases():
    return [case_of(name) for name in CASES["cases"]]
