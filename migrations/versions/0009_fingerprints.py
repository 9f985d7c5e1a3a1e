"""How models arrange drawn pictures, for the map of a pool's tasks.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; models that were inspected before have no place on the map."""
    op.create_table(
        "model_fingerprints",
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(length=4096), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_fingerprints_model_id_models")
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model_fingerprints")),
    )


def downgrade() -> None:
    """Drop it: it can be made of the models again."""
    op.drop_table("model_fingerprints")
