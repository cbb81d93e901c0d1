# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: signals as a terminal's programs have them."""

import signal


def pytest_configure() -> None:
    """Undo what a background job or nohup(1) passes on: with SIGINT or SIGHUP ignored no test could send them."""
    for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)
