# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from berth.errors import NotFound
from berth.ledger import Ledger
from berth.ledger.rows import ImageRow

TINY = ImageRow("tiny", "sha256:1", "qcow2", 5 * 2**40, 7, "file:///tiny.qcow2", 1.0)


def test_an_image_goes_round(ledger: Ledger) -> None:
    ledger.record_images([TINY])
    assert ledger.images() == [TINY]
    assert ledger.image("tiny") == TINY


def test_the_newest_of_a_name_counts_and_the_others_stay(ledger: Ledger) -> None:
    newer = replace(TINY, digest="sha256:0", recorded_at=2.0)
    ledger.record_images([newer, TINY])
    assert ledger.image("tiny") == newer
    again = replace(TINY, recorded_at=3.0)
    ledger.record_images([again])
    assert ledger.images() == [newer, again]
    with pytest.raises(NotFound) as caught:
        ledger.image("tini")
    assert caught.value.hint == "did you mean 'tiny'?"


def test_hosts_have_images_until_they_do_not(ledger: Ledger) -> None:
    for host in ("h2", "h1", "h1"):
        ledger.record_images([TINY], host=host)
    assert ledger.image_hosts() == {"sha256:1": ("h1", "h2")}
    ledger.forget_images("h1", ["sha256:1"])
    assert ledger.image_hosts() == {"sha256:1": ("h2",)}
