# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses of labs side by side; no lab is needed for these."""

from pathlib import Path

import pytest

from lab import layout
from lab.layout import MAX_HOSTS, SLOTS, Layout, from_environment
from lab.shell import LabError


def test_labs_of_all_slots_share_no_name_and_no_address(tmp_path: Path) -> None:
    labs = [Layout(tmp_path, f"lab{slot}", slot) for slot in range(SLOTS)]
    for value in (
        lambda lab: lab.bridges,
        lambda lab: lab.gateways,
        lambda lab: lab.machine("h1"),
        lambda lab: lab.data_link("h1"),
        lambda lab: lab.address(1),
    ):
        assert len({value(lab) for lab in labs}) == SLOTS
    addresses = [address for lab in labs for address in (*lab.gateways, lab.address(MAX_HOSTS))]
    assert all(address.startswith(f"{layout.PREFIX}.") for address in addresses)


def test_interface_names_are_short_enough_for_the_kernel(tmp_path: Path) -> None:
    lab = Layout(tmp_path, "main", 9)
    # The management interface is nspawn's, which shortens a long name by itself.
    for name in (*lab.bridges, lab.data_link(f"h{MAX_HOSTS}")):
        assert len(name) <= 15, name


def test_default_lab_is_main_in_slot_0(tmp_path: Path) -> None:
    assert from_environment({"LAB_DIR": str(tmp_path)}) == Layout(tmp_path, "main", 0)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LAB_NAME": "Main"}, "LAB_NAME 'Main'"),
        ({"LAB_NAME": "../x"}, "LAB_NAME '../x'"),
        ({"LAB_SLOT": "10"}, "LAB_SLOT '10'"),
        ({"LAB_SLOT": "-1"}, "LAB_SLOT '-1'"),
        ({"LAB_NAME": "other", "LAB_SLOT": "3"}, "slot 3 belongs to lab taken: set LAB_NAME=taken"),
        ({"LAB_NAME": "taken", "LAB_SLOT": "4"}, "lab taken is in slot 3, not 4: set LAB_SLOT=3"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    (tmp_path / "labs/taken").mkdir(parents=True)
    (tmp_path / "labs/taken/slot").write_text("3\n")
    with pytest.raises(LabError, match=message.replace(".", r"\.")):
        from_environment({"LAB_DIR": str(tmp_path), **environ})
