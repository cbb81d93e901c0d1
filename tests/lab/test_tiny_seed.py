# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tiny guest reads its seed: the awk programs of its boot script, run here without a guest."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.domain import seed

TINY = Path(__file__).parent / "images" / "tiny"
AWK = ["busybox", "awk"]  # the guest has no other

scalars = st.one_of(
    st.text(alphabet="abz019 .:/'\"\\#-_[]{},&|>\n\t", max_size=100),
    st.integers(0, 99),
)
names = st.text(alphabet="abcz-_", min_size=1, max_size=8)
documents = st.dictionaries(
    names, st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
)


def awk(program: str, text: str, *options: str) -> list[str]:
    """Lines that one of the guest's awk programs prints."""
    done = subprocess.run(
        [*AWK, *options, "-f", TINY / program], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def flat(data: Any, path: str = "") -> list[str]:
    """What flatten.awk should print."""
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return [line for key, value in items for line in flat(value, f"{path}.{key}" if path else str(key))]
    return [path + "\t" + str(data).replace("\\", "\\\\").replace("\n", "\\n")]


@settings(max_examples=60, deadline=None)
@given(documents, st.sampled_from(["json", "indented", "yaml", "wide"]))
def test_any_document_that_berth_can_write_is_read(data: dict[str, Any], style: str) -> None:
    if style in ("json", "indented"):
        text = "#cloud-config\n" + json.dumps(data, indent=2 if style == "indented" else None)
    else:
        text = yaml.safe_dump(data, sort_keys=False, width=10_000 if style == "wide" else 80)
    assert awk("flatten.awk", text) == flat(data)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a:\n- 1\n- 2\nb: x\n", ["a.0\t1", "a.1\t2", "b\tx"]),
        ("a:\n  - b: 1\n    c: 2\n", ["a.0.b\t1", "a.0.c\t2"]),
        ("# note\na: {b: 'it''s', c: [1, two]} \n", ["a.b\tit's", "a.c.0\t1", "a.c.1\ttwo"]),
        ("a: |\n  one\n    two\n\n  three\nb: 1\n", ["a\tone\\n  two\\n\\nthree\\n", "b\t1"]),
        ("a: long\n  text: 1\nb: 2 # note\n", ["a\tlong text: 1", "b\t2"]),
        ("", []),
        ("#cloud-config\n{}\n", []),
    ],
    ids=["list", "list of maps", "flow", "block text", "folded", "empty", "empty map"],
)
def test_hand_written_documents(text: str, lines: list[str]) -> None:
    assert awk("flatten.awk", text) == lines


def test_network_config_becomes_steps() -> None:
    networks = [
        {
            "mac": "52:54:00:AA:00:02", "assignment": "static", "address": "10.0.0.5", "prefix": 24,
            "gateway": "10.0.0.1", "dns": ["10.0.0.2", "10.0.0.3"], "mtu": 1400,
        },
        {"mac": "52:54:00:aa:00:01", "assignment": "dhcp", "mtu": None},
    ]  # fmt: skip
    lines = awk("flatten.awk", seed.network_config(networks))
    macs = "eth0=52:54:00:aa:00:01 eth1=52:54:00:aa:00:02"
    assert awk("network.awk", "\n".join(lines) + "\n", "-v", f"macs={macs}") == [
        "eth1 mtu 1400",
        "eth1 address 10.0.0.5/24",
        "eth1 route default 10.0.0.1",
        "eth1 dns 10.0.0.2",
        "eth1 dns 10.0.0.3",
        "eth0 dhcp",
    ]


def test_interface_that_is_not_there_gets_no_step() -> None:
    lines = awk("flatten.awk", seed.network_config([{"mac": "52:54:00:00:00:09", "assignment": "dhcp"}]))
    assert awk("network.awk", "\n".join(lines) + "\n", "-v", "macs=eth0=52:54:00:aa:00:01") == []
