# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: the record of hosts, guests, claims, addresses and actions. Open it with `Ledger.open(url)`."""

from berth.ledger.store import Ledger

__all__ = ["Ledger"]
