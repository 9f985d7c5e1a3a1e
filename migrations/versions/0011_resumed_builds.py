"""Builds that go on where another stopped.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

from migrations.indexes import add_column_online, create_index_online, drop_index_online

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEX = "ix_builds_resumed_from"


def upgrade() -> None:
    """Add both columns, empty: of earlier builds no state is kept."""
    add_column_online("builds", sa.Column("saved_at", sa.DateTime(timezone=True), nullable=True))
    add_column_online("builds", sa.Column("resumed_from", sa.String(length=40), nullable=True))
    create_index_online(INDEX, "builds", ["resumed_from"])


def downgrade() -> None:
    """Drop them; states that are kept are swept by the older release."""
    drop_index_online(INDEX, "builds")
    op.drop_column("builds", "resumed_from")
    op.drop_column("builds", "saved_at")
