# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's entry: runs the migrations on the connection, and in the transaction, of berth.ledger.upgrade."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
