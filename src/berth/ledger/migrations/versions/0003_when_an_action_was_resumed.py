# SPDX-License-Identifier: GPL-3.0-or-later
"""When the run that works on an action took it up, where it was not the first."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; of actions from before it is not known."""
    op.add_column("actions", sa.Column("resumed_at", sa.Double(), nullable=True))
