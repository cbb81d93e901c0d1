# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests are shut down together: none of them waits for another one."""

import json
import time

TIMEOUT_S = 6


def test_guests_that_do_not_shut_down_are_waited_for_together(guest_host):
    guests = [guest_host.definition(f"web-{number}") for number in range(4)]
    guest_host.run("present", *guests)
    begin = time.monotonic()
    answer = guest_host.run("stopped", *guests, graceful_timeout_s=TIMEOUT_S, threads=1)
    took_s = time.monotonic() - begin
    # A guest in its firmware does not listen to its power button.
    assert [item["reason"] for item in answer["guests"]] == ["timeout"] * 4
    assert [item["state"] for item in answer["guests"]] == ["running"] * 4
    assert TIMEOUT_S <= took_s < 2 * TIMEOUT_S
    answer = guest_host.run("stopped", *guests, graceful_timeout_s=1, threads=1, hard=True)
    assert [item["state"] for item in answer["guests"]] == ["shutdown"] * 4


def wait_for(condition):
    deadline = time.monotonic() + 3 * TIMEOUT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_guest_that_is_off_starts_again_while_another_one_is_waited_for(guest_host):
    guests = [guest_host.definition(name) for name in ("slow", "quick", "was-off")]
    guest_host.run("present", *guests)
    guest_host.run("stopped", guests[2], hard=True, graceful_timeout_s=0)
    connection = guest_host.connection()
    slow, quick, was_off = (connection.lookupByName(name) for name in ("slow", "quick", "was-off"))
    before = quick.ID()
    process = guest_host.start_module("rebooted", guests, graceful_timeout_s=4 * TIMEOUT_S, threads=1)
    try:
        # It runs once all have been asked; then another one goes off, as if it had listened.
        assert wait_for(was_off.isActive)
        quick.destroy()
        assert wait_for(lambda: connection.lookupByName("quick").ID() not in (-1, before))
        assert process.poll() is None
        slow.destroy()
    finally:
        connection.close()
        out, err = process.communicate(timeout=60)
    answer = json.loads(out)
    assert [item["state"] for item in answer["guests"]] == ["running"] * 3, err
    assert [item["changed"] for item in answer["guests"]] == [True] * 3


def test_check_mode_asks_no_guest_to_shut_down(guest_host):
    guest = guest_host.definition()
    guest_host.run("present", guest)
    begin = time.monotonic()
    answer = guest_host.run("rebooted", guest, graceful_timeout_s=60, _ansible_check_mode=True, _ansible_diff=True)
    assert time.monotonic() - begin < 30
    assert answer["changed"] is True and answer["guests"][0]["state"] == "running"
    assert answer["diff"][0]["before"] == answer["diff"][0]["after"] == "state = running\n"
