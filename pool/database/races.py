"""Which errors of a database mean a lost race, and which that it is away."""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

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


# Connection failures, no resources, the server is going down or coming up.
POSTGRESQL_AWAY = ("08", "53", "57P")
SQLITE_AWAY = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR")


def is_outage(error: DBAPIError) -> bool:
    """Whether the database did not answer, or could not for want of room or connections."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    sqlite: str | None = getattr(error.orig, "sqlite_errorname", None)
    if sqlite is not None:
        return sqlite.startswith(SQLITE_AWAY)
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(POSTGRESQL_AWAY)  # none: there was no connection
