"""Alembic's entry: one database, from the caller or from the settings."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, event

from pool.database.moments import UtcDateTime
from pool.database.session import create_engine_for
from pool.database.tables import Base
from pool.settings import Settings

given = context.config.attributes
url = given.get("database_url") or Settings().database
lock_timeout_ms = given.get("lock_timeout_ms", 5000)


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


def prepare(connection: Any, _: object) -> None:
    """What a connection that migrates does differently.

    SQLite alters a table by copying and dropping it, which its foreign keys would forbid. On
    PostgreSQL a statement that waits for a lock holds up everybody behind it; so it gives up.
    """
    cursor = connection.cursor()
    if connection.__class__.__module__.startswith("sqlite3"):
        cursor.execute("PRAGMA foreign_keys=OFF")
    else:
        cursor.execute(f"SET lock_timeout = {lock_timeout_ms:d}")
        connection.commit()
    cursor.close()


def check_references(connection: Connection) -> None:
    """Fail, before the commit, if a migration left rows on SQLite that refer to nothing."""
    if connection.dialect.name != "sqlite":
        return
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
        raise RuntimeError(f"rows of {sorted({row[0] for row in broken})} refer to nothing")


def run_online() -> None:
    """Run the migrations in one transaction each."""
    engine = create_engine_for(url)
    event.listen(engine, "connect", prepare)
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=True,
                compare_type=True,
                render_item=render_item,
                transaction_per_migration=True,
                on_version_apply=lambda ctx, **_: check_references(ctx.connection),
            )
            with context.begin_transaction():
                context.run_migrations()
            connection.commit()
    finally:
        engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
