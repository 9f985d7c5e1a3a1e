"""What lists, searches and builds over a large pool walk along.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from migrations.indexes import add_column_online, create_index_online, drop_index_online

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BATCH = 1000
KEY_CHARS = 200
NEW = {
    "ix_models_pool_id_name_key_id": ["pool_id", "name_key", "id"],
    "ix_models_pool_id_status_created_at_id": ["pool_id", "status", "created_at", "id"],
    "ix_models_pool_id_backbone_created_at_id": ["pool_id", "backbone", "created_at", "id"],
    "ix_models_pool_id_domain_created_at_id": ["pool_id", "domain", "created_at", "id"],
    "ix_models_owner_created_at_id": ["organisation_id", "pool_id", "created_at", "id"],
    "ix_models_owner_name_key_id": ["organisation_id", "pool_id", "name_key", "id"],
    "ix_models_pool_id_status_content": ["pool_id", "status", "canonical_sha256", "id"],
}
REPLACED = {
    "ix_models_organisation_id_created_at_id": ["organisation_id", "created_at", "id"],
    "ix_models_pool_id_status": ["pool_id", "status"],
}


def upgrade() -> None:
    """Fold the names, then make the indexes."""
    kind = sa.String(KEY_CHARS).with_variant(sa.String(KEY_CHARS, collation="C"), "postgresql")
    # An older release that still runs meanwhile writes the default, which loses no record.
    add_column_online(
        "models", sa.Column("name_key", kind, nullable=False, server_default=sa.text("''"))
    )
    if not op.get_context().as_sql:
        _fold_names()
    for name, columns in NEW.items():
        create_index_online(name, "models", columns)
    for name in REPLACED:
        drop_index_online(name, "models")


def downgrade() -> None:
    """Back to the indexes before; the folded names are derived, so nothing is lost."""
    for name, columns in REPLACED.items():
        create_index_online(name, "models", columns)
    for name in NEW:
        drop_index_online(name, "models")
    op.drop_column("models", "name_key")


def _fold_names() -> None:
    """In batches, each a statement of its own: nobody waits for more than a thousand rows."""
    models = sa.table(
        "models",
        sa.column("id", sa.String),
        sa.column("name", sa.String),
        sa.column("name_key", sa.String),
    )
    last = ""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        while batch := connection.execute(
            sa.select(models.c.id, models.c.name)
            .where(models.c.id > last)
            .order_by(models.c.id)
            .limit(BATCH)
        ).all():
            folded = {key: name.casefold()[:KEY_CHARS] for key, name in batch}
            connection.execute(
                models.update()
                .where(models.c.id.in_(folded))
                .values(name_key=sa.case(folded, value=models.c.id))
            )
            last = batch[-1].id
