"""Signs of life, and indexes for what metrics count."""

import sqlalchemy as sa
from alembic import op

from migrations.indexes import create_index_online, drop_index_online

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_models_status_reason_code", "models", ["status", "reason_code"]),
    ("ix_jobs_finished_at", "jobs", ["finished_at"]),
)


def upgrade() -> None:
    for name, table, columns in INDEXES:
        create_index_online(name, table, columns)
    op.create_table(
        "heartbeats",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("queues", sa.JSON(), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=True),
        sa.Column("device_ok", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heartbeats")),
    )


def downgrade() -> None:
    for name, table, _ in INDEXES:
        drop_index_online(name, table)
    op.drop_table("heartbeats")
