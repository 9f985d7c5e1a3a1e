"""Keys of validation sets that came with orders for builds.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "build_validations",
        sa.Column("build_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("n_images", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("build_id", name=op.f("pk_build_validations")),
    )


def downgrade() -> None:
    """Drop it: builds under way report without their validation sets."""
    op.drop_table("build_validations")
