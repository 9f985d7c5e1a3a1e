"""Indexes and columns of tables that grow, made while others write."""

from typing import Any

import sqlalchemy as sa
from alembic import op

INVALID = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")


def create_index_online(name: str, table: str, columns: list[str], *, unique: bool = False) -> None:
    """Make an index without holding up writers; to be called before the rest of a migration.

    PostgreSQL commits it apart from the migration, and an interrupted one leaves an index that is
    invalid: it is made anew. One that is there already, from an interrupted migration, is kept.
    """
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        if bind.dialect.name == "postgresql" and bind.scalar(INVALID, {"name": name}):
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name, table, columns, unique=unique, postgresql_concurrently=True, if_not_exists=True
        )


def drop_index_online(name: str, table: str) -> None:
    """Drop an index without holding up writers, if it is there."""
    with op.get_context().autocommit_block():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


def add_column_online(table: str, column: sa.Column[Any]) -> None:
    """Add a column without values, unless an interrupted migration has; committed at once."""
    with op.get_context().autocommit_block():
        if column.name not in {
            each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)
        }:
            op.add_column(table, column)
