"""Which organisation has which role in which pool; whoever made a pool owns it."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_models_pool_id_created_at_id", "models"),
    ("ix_builds_pool_id_created_at_id", "builds"),
    ("ix_meta_learners_pool_id_created_at_id", "meta_learners"),
)
ALL_BEFORE = {
    "models:read",
    "models:write",
    "builds:read",
    "builds:write",
    "predict",
    "keys:admin",
}
NEW = ["pools:admin", "audit:read"]


def upgrade() -> None:
    # Concurrently and first, as in 0003: these tables grow and writers must not wait.
    with op.get_context().autocommit_block():
        for name, table in INDEXES:
            op.create_index(
                name,
                table,
                ["pool_id", "created_at", "id"],
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "pool_members",
        sa.Column("organisation_id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_pool_members_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pools.id"], name=op.f("fk_pool_members_pool_id_pools")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "pool_id", "role", name=op.f("pk_pool_members")),
    )
    op.create_index("ix_pool_members_pool_id", "pool_members", ["pool_id"])
    op.execute(
        "INSERT INTO pool_members (organisation_id, pool_id, role, created_at) "
        "SELECT organisation_id, id, 'owner', created_at FROM pools"
    )
    _change_scopes(of=lambda scopes: scopes >= ALL_BEFORE, to=lambda scopes: [*scopes, *NEW])


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, table in INDEXES:
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
    _change_scopes(
        of=lambda scopes: not scopes.isdisjoint(NEW),
        to=lambda scopes: [scope for scope in scopes if scope not in NEW],
    )
    op.drop_table("pool_members")


def _change_scopes(of, to) -> None:  # type: ignore[no-untyped-def]
    """Keys that could do everything still can; and an older release knows no newer scope."""
    if op.get_context().as_sql:
        return
    keys = sa.table("api_keys", sa.column("id", sa.String), sa.column("scopes", sa.JSON))
    connection = op.get_bind()
    for key_id, found in connection.execute(sa.select(keys.c.id, keys.c.scopes)).all():
        scopes = json.loads(found) if isinstance(found, str) else found
        if of(set(scopes)):
            changed = list(dict.fromkeys(to(scopes)))
            connection.execute(keys.update().where(keys.c.id == key_id).values(scopes=changed))
