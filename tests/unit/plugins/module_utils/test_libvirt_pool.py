# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools on libvirt's test driver."""

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import ObjectError, ensure
from ansible_collections.berth.kvm.plugins.module_utils.libvirt_pool import PoolKind, render, shape


class TestDriverKind(PoolKind):
    """The test driver refuses the flag for the stored definition."""

    __test__ = False

    def stored_xml(self, handle):
        return handle.XMLDesc(0)


@pytest.fixture
def kind(tmp_path):
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    (tmp_path / "node.xml").write_text("<node/>")  # a file: unlike test:///default nobody else's
    connection = libvirt.open(f"test://{tmp_path}/node.xml")
    yield TestDriverKind(libvirt, connection)
    connection.close()


def test_made_once_then_left_alone(kind):
    xml = render("berth", "/var/lib/berth/instances")
    assert ensure(kind, "berth", xml, False).actions == ["define", "start", "autostart"]
    handle = kind.find("berth")
    assert (handle.isActive(), handle.autostart()) == (1, 1)
    assert not ensure(kind, "berth", render("berth", "/var/lib/berth/instances/"), False).changed


def test_a_dry_run_makes_nothing(kind):
    assert ensure(kind, "berth", render("berth", "/srv/a"), True).changed
    assert kind.find("berth") is None


def test_a_pool_over_another_folder_is_refused_and_kept(kind):
    ensure(kind, "berth", render("berth", "/srv/a"), False)
    with pytest.raises(ObjectError, match="path /srv/a"):
        ensure(kind, "berth", render("berth", "/srv/b"), False)
    assert shape(kind.find("berth").XMLDesc(0))["path"] == "/srv/a"


def test_a_second_pool_over_one_folder_names_the_first(kind):
    ensure(kind, "old", render("old", "/srv/a"), False)
    with pytest.raises(ObjectError, match="pool old already serves /srv/a"):
        ensure(kind, "berth", render("berth", "/srv/a"), False)
