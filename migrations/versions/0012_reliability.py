"""Whether a model behaves like one that was trained.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

from migrations.indexes import add_column_online

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; models that were inspected before have none."""
    add_column_online("models", sa.Column("reliability", sa.Float(), nullable=True))


def downgrade() -> None:
    """Drop it: it can be reckoned from the models again."""
    op.drop_column("models", "reliability")
