# SPDX-License-Identifier: GPL-3.0-or-later
"""Which folders of guests the module works in."""

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import target_of
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure

UUID = "4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001"
NOW = "/var/lib/berth/instances"


@pytest.mark.parametrize(
    ("folder", "given"),
    [
        pytest.param(f"{NOW}/{UUID}", None, id="where-the-host-keeps-them"),
        pytest.param(f"/srv/before/{UUID}", "/srv/before", id="where-the-host-kept-them-before"),
        pytest.param(None, None, id="no-folder"),
    ],
)
def test_a_guest_is_worked_on_in_its_own_folder(folder, given):
    target = {"uuid": UUID, "name": "web", "instance_dir": folder, "instances_path": given}
    assert target_of(target, NOW).instance_dir == folder


@pytest.mark.parametrize(
    ("folder", "given", "said"),
    [
        pytest.param(f"/srv/before/{UUID}", None, f"allowed is '{NOW}/{UUID}'", id="nobody-said-so"),
        pytest.param("/srv/before/web", "/srv/before", f"allowed is '/srv/before/{UUID}'", id="not-its-own"),
        pytest.param(f"{NOW}/{UUID}", "/srv/before", f"allowed is '/srv/before/{UUID}'", id="not-below"),
        pytest.param(f"before/{UUID}", "before", "instances_path 'before'", id="relative"),
        pytest.param(f"/srv/../etc/{UUID}", "/srv/../etc", "instances_path '/srv/../etc'", id="goes-up"),
    ],
)
def test_another_folder_is_refused(folder, given, said):
    target = {"uuid": UUID, "name": "web", "instance_dir": folder, "instances_path": given}
    with pytest.raises(GuestFailure) as caught:
        target_of(target, NOW)
    assert said in caught.value.message


def test_how_the_path_is_written_makes_no_difference():
    target = {"uuid": UUID, "name": "web", "instance_dir": f"{NOW}/{UUID}"}
    assert target_of(target, f"{NOW}/").instance_dir == f"{NOW}/{UUID}"


def test_a_link_is_refused_wherever_it_is(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / UUID).symlink_to(tmp_path / "real")
    target = {"uuid": UUID, "name": "web", "instance_dir": str(tmp_path / UUID), "instances_path": str(tmp_path)}
    with pytest.raises(GuestFailure, match="is a link"):
        target_of(target, NOW)
