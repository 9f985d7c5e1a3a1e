"""The audit trail; rotated keys, whose secret from before may stay valid for a while."""

import sqlalchemy as sa
from alembic import op

from migrations.indexes import add_column_online, create_index_online, drop_index_online

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "ix_api_keys_previous_sha256"


def upgrade() -> None:
    add_column_online("api_keys", sa.Column("previous_sha256", sa.String(64), nullable=True))
    add_column_online(
        "api_keys", sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True)
    )
    create_index_online(INDEX, "api_keys", ["previous_sha256"], unique=True)
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organisation_id", sa.String(length=40), nullable=True),
        sa.Column("key_id", sa.String(length=40), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=True),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.String(length=200), nullable=True),
        sa.Column("previous_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_pool_id_seq", "audit_events", ["pool_id", "seq"])
    op.create_index(
        "ix_audit_events_organisation_id_seq", "audit_events", ["organisation_id", "seq"]
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )


def downgrade() -> None:
    drop_index_online(INDEX, "api_keys")
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("previous_until")
        table.drop_column("previous_sha256")
    op.drop_table("audit_head")
    op.drop_table("audit_events")
