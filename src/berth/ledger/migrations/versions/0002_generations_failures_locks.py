# SPDX-License-Identifier: GPL-3.0-or-later
"""A generation and build failures per host, locks on guests."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; hosts start at generation 0 without failures, guests unlocked."""
    op.add_column("hosts", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("failure_score", sa.Double(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("failure_at", sa.Double(), nullable=True))
    op.add_column("guests", sa.Column("lock_reason", sa.Text(), nullable=True))
    op.add_column("guests", sa.Column("locked_by", sa.Text(), nullable=True))
    op.add_column("guests", sa.Column("locked_at", sa.Double(), nullable=True))
