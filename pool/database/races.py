"""Which errors of a database mean that another transaction was faster."""

from sqlalchemy.exc import DBAPIError

# Unique violation, serialization failure, deadlock, lock not available.
POSTGRESQL = {"23505", "40001", "40P01", "55P03"}
SQLITE = {
    "SQLITE_BUSY",
    "SQLITE_BUSY_SNAPSHOT",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_UNIQUE",
    "SQLITE_LOCKED",
}


def is_lost_race(error: DBAPIError) -> bool:
    """Whether the same request can succeed when it is sent again."""
    return (
        getattr(error.orig, "sqlstate", None) in POSTGRESQL
        or getattr(error.orig, "sqlite_errorname", None) in SQLITE
    )
