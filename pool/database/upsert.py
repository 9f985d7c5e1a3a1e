"""INSERT ... ON CONFLICT, which SQLAlchemy spells by dialect."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from pool.database.tables import Base


def upsert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of the session's dialect, which takes ON CONFLICT clauses."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_if_absent(session: Session, table: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row; False where one with the same key is there already."""
    statement = upsert(session, table).values(**values).on_conflict_do_nothing()
    columns = inspect(table).primary_key
    return session.execute(statement.returning(*columns)).one_or_none() is not None
