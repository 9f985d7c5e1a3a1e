"""Alembic's entry: one database, from the caller or from the settings."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from pool.database.session import create_engine_for
from pool.database.tables import Base, UtcDateTime
from pool.settings import Settings

url = context.config.attributes.get("database_url") or Settings().database


def render_item(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write plain column types, so that an old revision never depends on today's code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run_offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(
        url=url, target_metadata=Base.metadata, literal_binds=True, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Run the migrations in one transaction each."""
    engine = create_engine_for(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            render_item=render_item,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
