# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests' domains on libvirt's own test driver, which has one domain that is not ours."""

import libvirt
import pytest
from ansible_collections.berth.kvm.plugins.module_utils import guest_domain
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure


@pytest.fixture
def connection():
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    made = libvirt.open("test:///default")
    yield made
    made.close()


def test_a_domain_of_somebody_else_is_refused_with_what_an_operator_can_do(connection):
    (theirs,) = connection.listAllDomains(0)
    with pytest.raises(GuestFailure) as caught:
        guest_domain.find_ours(connection, theirs.UUIDString(), force=False)
    assert caught.value.reason == "foreign"
    assert caught.value.message.startswith(f"domain test of this host has the UUID {theirs.UUIDString()}")
    assert "`virsh undefine test`" in caught.value.message and "`berth sync`" in caught.value.message
    assert "force" not in caught.value.message
    assert guest_domain.find_ours(connection, theirs.UUIDString(), force=True).name() == "test"


def test_a_domain_that_is_not_there_is_none(connection):
    assert guest_domain.find_ours(connection, "4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001", force=False) is None
