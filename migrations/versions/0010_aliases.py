"""Names of meta-learners that can move, with their history.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both tables."""
    op.create_table(
        "aliases",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("meta_learner_id", sa.String(length=40), nullable=True),
        sa.Column("n_moves", sa.Integer(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["meta_learner_id"],
            ["meta_learners.id"],
            name=op.f("fk_aliases_meta_learner_id_meta_learners"),
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_aliases_pool_id_pools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aliases")),
        sa.UniqueConstraint("pool_id", "name", name=op.f("uq_aliases_pool_id_name")),
    )
    op.create_index(op.f("ix_aliases_meta_learner_id"), "aliases", ["meta_learner_id"])
    op.create_table(
        "alias_moves",
        sa.Column("alias_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("meta_learner_id", sa.String(length=40), nullable=True),
        sa.Column("organisation_id", sa.String(length=40), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["aliases.id"], name=op.f("fk_alias_moves_alias_id_aliases")
        ),
        sa.ForeignKeyConstraint(
            ["meta_learner_id"],
            ["meta_learners.id"],
            name=op.f("fk_alias_moves_meta_learner_id_meta_learners"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_alias_moves_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("alias_id", "seq", name=op.f("pk_alias_moves")),
    )


def downgrade() -> None:
    """Drop both; predictions by a name are not found then."""
    op.drop_table("alias_moves")
    op.drop_table("aliases")
